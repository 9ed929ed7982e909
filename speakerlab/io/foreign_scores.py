"""Score files and trial keys of other toolkits: one reader for each format, recognised by content.

In: a path and, where the file has no labels, a trial list; out: a ``ScoreTable``. ``read(path, trials)``;
``read(path)`` for a file that carries its labels; ``read_trial_list(path)`` reads a NIST key too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerlab.data.lines import lines
from speakerlab.data.trials import read_trials
from speakerlab.errors import DataError
from speakerlab.io import scores
from speakerlab.io.score_columns import UNLABELLED, ScoreColumns, ScoredLine
from speakerlab.types import ScoreTable, TrialList

LABELS = {b"target": 1, b"nontarget": 0, b"1": 1, b"0": 0}


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
    read: Callable[[Path], Iterator[ScoredLine]]


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
    found = ScoreColumns.of(path, FORMATS[form].read(path))
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


def read_kaldi(path: Path) -> Iterator[ScoredLine]:
    """``enroll test score``: Kaldi's ``ivector-plda-scoring`` and this toolkit."""
    for number, fields in _fields(path):
        if len(fields) != 3:
            raise _misfit(path, number, "kaldi", fields)
        yield ScoredLine(number, fields[0], fields[1], fields[2], UNLABELLED)


def read_wespeaker(path: Path) -> Iterator[ScoredLine]:
    """``enroll test score label``; its score_norm.py adds four columns."""
    for number, fields in _fields(path):
        if len(fields) not in {4, 8} or fields[3] not in LABELS:
            raise _misfit(path, number, "wespeaker", fields)
        yield ScoredLine(number, fields[0], fields[1], fields[2], LABELS[fields[3]])


def read_three_d_speaker(path: Path) -> Iterator[ScoredLine]:
    """``enroll test label score``: a trial line with its score (3D-Speaker's compute_score_metrics.py)."""
    for number, fields in _fields(path):
        if len(fields) != 4 or fields[2] not in LABELS:
            raise _misfit(path, number, "3d-speaker", fields)
        yield ScoredLine(number, fields[0], fields[1], fields[3], LABELS[fields[2]])


def read_nist(path: Path) -> Iterator[ScoredLine]:
    """Tabs and a header with ``modelid``, ``segmentid``, ``LLR`` and perhaps ``side`` and ``targettype``.

    The system output of the NIST speaker recognition evaluations since 2016 (evaluation plans, "System
    output").
    """
    for number, row in _nist_rows(path, needed=("modelid", "segmentid", "LLR")):
        label = LABELS[row["targettype"]] if "targettype" in row else UNLABELLED
        yield ScoredLine(number, row["modelid"], _segment(row), row["LLR"], label)


def read_trial_list(path: Path) -> TrialList:
    """A trial list of ours, Kaldi, VoxCeleb, WeSpeaker or 3D-Speaker, or a NIST ``.tsv`` list or key.

    Raises:
        DataError: as ``read_trials``; a NIST line of another length, with a target type that is none, or with
            a pair that is there twice.
    """
    if not _is_nist(next((line.split() for _, line in lines(path)), [])):
        return read_trials(path)
    found = ScoreColumns.of(
        path,
        (
            ScoredLine(
                number, row["modelid"], _segment(row), b"0", LABELS.get(row.get("targettype", b""), -1)
            )
            for number, row in _nist_rows(path, needed=("modelid", "segmentid"))
        ),
    )
    found.check_unique()
    return found.trials()


def read_key_columns(path: Path, columns: Sequence[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Values of ``columns`` of a NIST key by pair of ids, for instance of gender and num_enroll_segs.

    Raises:
        DataError: as ``read_trial_list``; a column that the header lacks.
    """
    rows = _nist_rows(path, needed=("modelid", "segmentid", *columns))
    return {
        (row["modelid"].decode(), _segment(row).decode()): tuple(row[name].decode() for name in columns)
        for _, row in rows
    }


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
