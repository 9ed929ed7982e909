"""Score files and trial keys of other toolkits: one reader for each format, recognised by content.

In: a path and, where the file has no labels, a trial list; out: a ``ScoreTable``. ``read(path, trials)``;
``read(path)`` for a file that carries its labels; ``read_trial_list(path)`` reads a NIST key too.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speakerlab.data.lines import lines
from speakerlab.data.trials import read_trials
from speakerlab.errors import DataError
from speakerlab.io import scores
from speakerlab.types import ScoreTable, TrialList

Int64Array = npt.NDArray[np.int64]
LABELS = {b"target": 1, b"nontarget": 0, b"1": 1, b"0": 0}
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class _Scored:
    """One line: where it is, the pair, the score as it is written, and the label, -1 if it has none."""

    number: int
    enroll_id: bytes
    test_id: bytes
    score: bytes
    label: int


@dataclass(frozen=True)
class _Format:
    """One way to write scores.

    Attributes:
        text: how a line looks, for messages.
        fits: whether the fields of a line are of this format.
        read: the lines of a file.
    """

    text: str
    fits: Callable[[list[bytes]], bool]
    read: Callable[[Path], Iterator[_Scored]]


def read(path: Path, trials: TrialList | None = None, form: str | None = None) -> ScoreTable:
    """The scores in ``path``, in the order of ``trials``; without ``trials``, in file order.

    Args:
        path: a score file in one of ``FORMATS``.
        trials: the list that must be scored, no pair more and none less; its labels count, and those in the
            file must agree with them.
        form: the name of the format; default: what the lines look like.

    Raises:
        DataError: with the line, a line of another format, a score that is not finite, a pair that is scored
            twice or is not a trial, a label unlike that of the list; without it, a pair that has no score, or
            neither file has labels.
    """
    form = form or recognise(path)
    if form == "kaldi" and trials is not None:
        return scores.read(path, trials)
    found = _Columns.of(path, FORMATS[form].read(path))
    return found.table() if trials is None else found.arranged(trials)


def recognise(path: Path) -> str:
    """The name in ``FORMATS`` of the format of ``path``: the first lines decide until one fits alone.

    Raises:
        DataError: no format fits the first line, or several fit every line.
    """
    left = dict(FORMATS)
    for number, fields in _fields(path):
        fitting = {name: form for name, form in left.items() if form.fits(fields)}
        if not fitting and len(left) == len(FORMATS):
            choice = ", or ".join(f"'{form.text}' ({name})" for name, form in FORMATS.items())
            raise DataError(path, "not a score file", f"write every line as {choice}", number)
        left = fitting or left
        if len(left) == 1:
            break
    if len(left) > 1:
        raise DataError(path, f"could be of the formats {' and '.join(left)}", "give --format")
    return next(iter(left))


def read_kaldi(path: Path) -> Iterator[_Scored]:
    """``enroll test score``: Kaldi's ``ivector-plda-scoring`` and this toolkit."""
    for number, fields in _fields(path):
        if len(fields) != 3:
            raise _misfit(path, number, "kaldi", fields)
        yield _Scored(number, fields[0], fields[1], fields[2], UNLABELLED)


def read_wespeaker(path: Path) -> Iterator[_Scored]:
    """``enroll test score label``; its score_norm.py adds four columns."""
    for number, fields in _fields(path):
        if len(fields) not in {4, 8} or fields[3] not in LABELS:
            raise _misfit(path, number, "wespeaker", fields)
        yield _Scored(number, fields[0], fields[1], fields[2], LABELS[fields[3]])


def read_three_d_speaker(path: Path) -> Iterator[_Scored]:
    """``enroll test label score``: a trial line with its score (3D-Speaker's compute_score_metrics.py)."""
    for number, fields in _fields(path):
        if len(fields) != 4 or fields[2] not in LABELS:
            raise _misfit(path, number, "3d-speaker", fields)
        yield _Scored(number, fields[0], fields[1], fields[3], LABELS[fields[2]])


def read_nist(path: Path) -> Iterator[_Scored]:
    """Tabs and a header with ``modelid``, ``segmentid``, ``LLR`` and perhaps ``side`` and ``targettype``.

    The system output of the NIST speaker recognition evaluations since 2016 (evaluation plans, "System
    output").
    """
    for number, row in _nist_rows(path, needed=("modelid", "segmentid", "LLR")):
        label = LABELS[row["targettype"]] if "targettype" in row else UNLABELLED
        yield _Scored(number, row["modelid"], _segment(row), row["LLR"], label)


def read_trial_list(path: Path) -> TrialList:
    """A trial list of ours, Kaldi, VoxCeleb, WeSpeaker or 3D-Speaker, or a NIST ``.tsv`` list or key.

    Raises:
        DataError: as ``read_trials``; a NIST line of another length, with a target type that is none, or with
            a pair that is there twice.
    """
    if not _is_nist(next((line.split() for _, line in lines(path)), [])):
        return read_trials(path)
    found = _Columns.of(
        path,
        (
            _Scored(number, row["modelid"], _segment(row), b"0", LABELS.get(row.get("targettype", b""), -1))
            for number, row in _nist_rows(path, needed=("modelid", "segmentid"))
        ),
    )
    found.check_unique()
    return found.trials()


def _is_nist(fields: list[bytes]) -> bool:
    return {b"modelid", b"segmentid"} <= set(fields)


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMATS = {
    "kaldi": _Format("enroll test score", lambda f: len(f) == 3 and not _is_nist(f), read_kaldi),
    "wespeaker": _Format(
        "enroll test score target|nontarget",
        lambda f: len(f) in {4, 8} and f[3] in LABELS and _is_number(f[2]),
        read_wespeaker,
    ),
    "3d-speaker": _Format(
        "enroll test target|nontarget score",
        lambda f: len(f) == 4 and f[2] in LABELS and _is_number(f[3]),
        read_three_d_speaker,
    ),
    "nist": _Format("modelid<tab>segmentid<tab>side<tab>LLR under such a header", _is_nist, read_nist),
}


def _fields(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Fields of each line but the comments at the top."""
    at_top = True
    for number, line in lines(path):
        at_top = at_top and line.startswith(b"#")
        if not at_top:
            yield number, line.split()


def _nist_rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, bytes]]]:
    names: list[str] = []
    for number, line in lines(path):
        fields = line.rstrip(b"\r\n").split(b"\t")
        if not names:
            names = [field.decode() for field in fields]
            missing = [name for name in needed if name not in names]
            if missing:
                raise DataError(path, f"the header has no '{missing[0]}'", "separate columns by tabs", number)
            continue
        if len(fields) != len(names):
            why = f"{len(fields)} columns where the header has {len(names)}"
            raise DataError(path, why, "separate columns by tabs", number)
        row = dict(zip(names, fields, strict=True))
        for name in ("modelid", "segmentid"):
            if row[name].split() != [row[name]]:
                raise DataError(
                    path, f"{name} '{row[name].decode()}' is not an id", "ids have no blanks", number
                )
        if row.get("targettype", b"target") not in LABELS:
            why = f"target type '{row['targettype'].decode()}'"
            raise DataError(path, why, "write target or nontarget", number)
        yield number, row


def _segment(row: dict[str, bytes]) -> bytes:
    """The id of a test segment: a conversation of two sides is two of them."""
    side = row.get("side", b"a")
    return row["segmentid"] if side == b"a" else row["segmentid"] + b":" + side


def _misfit(path: Path, number: int, name: str, fields: list[bytes]) -> DataError:
    why = f"'{b' '.join(fields).decode()}' does not fit '{FORMATS[name].text}', the form of this file"
    return DataError(path, why, "write every line alike, or give --format", number)


@dataclass(frozen=True)
class _Columns:
    """A score file by column: ``enroll`` and ``test`` are places in ``ids``, ``numbers`` of lines."""

    path: Path
    ids: list[str]
    enroll: Int64Array
    test: Int64Array
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    numbers: Int64Array

    @classmethod
    def of(cls, path: Path, rows: Iterator[_Scored]) -> _Columns:
        codes: dict[bytes, int] = {}
        enroll, test, numbers, labels, values = array("q"), array("q"), array("q"), array("b"), array("d")
        for row in rows:
            enroll.append(codes.setdefault(row.enroll_id, len(codes)))
            test.append(codes.setdefault(row.test_id, len(codes)))
            numbers.append(row.number)
            labels.append(row.label)
            values.append(_finite(path, row))
        if not len(numbers):
            raise DataError(path, "no line below the header", "write at least one")
        ids = [code.decode() for code in codes]
        return cls(path, ids, *map(np.asarray, (enroll, test, values, labels, numbers)))

    def trials(self) -> TrialList:
        """The pairs and labels of the file itself."""
        names = np.array(self.ids, dtype=object)
        return TrialList(names[self.enroll].tolist(), names[self.test].tolist(), self.labels, str(self.path))

    def table(self) -> ScoreTable:
        """The scores with the labels of the file itself."""
        if (self.labels == UNLABELLED).any():
            raise DataError(self.path, "the scores have no labels", "give the trial list: --trials")
        self.check_unique()
        return ScoreTable(self.trials(), self.scores)

    def check_unique(self) -> None:
        """Refuse a file that has a pair twice."""
        self._fault(_is_again(self.enroll * len(self.ids) + self.test), "is there twice")

    def arranged(self, trials: TrialList) -> ScoreTable:
        """The scores of exactly the pairs in ``trials``, in their order."""
        codes = {name: place for place, name in enumerate(self.ids)}
        for name in (*trials.enroll_ids, *trials.test_ids):
            codes.setdefault(name, len(codes))
        wanted = np.fromiter((codes[i] for i in trials.enroll_ids), np.int64, len(trials)) * len(codes)
        wanted += np.fromiter((codes[i] for i in trials.test_ids), np.int64, len(trials))
        found = self.enroll * len(codes) + self.test
        self._fault(_is_again(found), "is scored twice")
        self._fault(~np.isin(found, wanted), f"is not in {trials.name}")
        missing = np.flatnonzero(~np.isin(wanted, found))
        if len(missing):
            pair = f"{trials.enroll_ids[missing[0]]} {trials.test_ids[missing[0]]}"
            raise DataError(
                self.path, f"no score for pair '{pair}' ({len(missing)} such pairs)", scores.AGAIN
            )
        order = np.argsort(found)
        places = order[np.searchsorted(found, wanted, sorter=order)]
        labels = self._agreed(trials, places)
        return ScoreTable(
            TrialList(trials.enroll_ids, trials.test_ids, labels, trials.name), self.scores[places]
        )

    def _agreed(self, trials: TrialList, places: Int64Array) -> npt.NDArray[np.int8]:
        """Labels of the list, or of this file where the list has none; both must agree."""
        own = self.labels[places]
        wrong = np.zeros(len(self.labels), dtype=bool)
        wrong[places] = (own >= 0) & (trials.labels >= 0) & (own != trials.labels)
        self._fault(wrong, f"has another label in {trials.name}")
        return np.where(trials.labels >= 0, trials.labels, own)

    def _fault(self, bad: npt.NDArray[np.bool_], why: str) -> None:
        rows = np.flatnonzero(bad)
        if len(rows):
            pair = f"{self.ids[self.enroll[rows[0]]]} {self.ids[self.test[rows[0]]]}"
            why = f"pair '{pair}' {why} ({len(rows)} such lines)"
            raise DataError(self.path, why, "correct the file", int(self.numbers[rows[0]]))


def _finite(path: Path, row: _Scored) -> float:
    try:
        value = float(row.score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        why = f"score '{row.score.decode()}' is not a finite number"
        raise DataError(path, why, scores.AGAIN, row.number)
    return value


def _is_again(keys: Int64Array) -> npt.NDArray[np.bool_]:
    """Whether a key stands earlier in ``keys``."""
    again = np.ones(len(keys), dtype=np.bool_)
    again[np.unique(keys, return_index=True)[1]] = False
    return again
