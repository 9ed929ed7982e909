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
from speakerlab.io import nist_key, scores
from speakerlab.io.score_columns import UNLABELLED, ScoreColumns, ScoredLine
from speakerlab.types import ScoreTable, TrialList

LABELS = nist_key.LABELS


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
    if form == "kaldi" and trials is not None and _is_score_first(path, trials):
        form = "voxsrc"
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
    left = {name: form for name, form in left.items() if name not in _RARE} or left
    if len(left) > 1:
        raise DataError(path, f"could be of the formats {' and '.join(left)}", "give --format")
    return next(iter(left))


def read_kaldi(path: Path) -> Iterator[ScoredLine]:
    """``enroll test score``: Kaldi's ``ivector-plda-scoring`` and this toolkit."""
    for number, fields in _fields(path):
        if len(fields) != 3:
            raise _misfit(path, number, "kaldi", fields)
        yield ScoredLine(number, fields[0], fields[1], fields[2], UNLABELLED)


def _is_score_first(path: Path, trials: TrialList) -> bool:
    """Whether ids that are numbers make a file of scores in front look like Kaldi's."""
    _, fields = next(_fields(path), (0, []))
    if len(fields) < 2 or not all(map(_is_number, fields)):
        return False
    enrolled = set(trials.enroll_ids)
    return fields[0].decode() not in enrolled and fields[1].decode() in enrolled


def read_voxsrc(path: Path) -> Iterator[ScoredLine]:
    """``score enroll test``: the validation kits of VoxSRC."""
    for number, fields in _fields(path):
        if len(fields) != 3:
            raise _misfit(path, number, "voxsrc", fields)
        yield ScoredLine(number, fields[1], fields[2], fields[0], UNLABELLED)


def read_label_first(path: Path) -> Iterator[ScoredLine]:
    """``label enroll test score``: a line of VoxCeleb's lists with its score."""
    for number, fields in _fields(path):
        if len(fields) != 4 or fields[0] not in LABELS:
            raise _misfit(path, number, "label-first", fields)
        yield ScoredLine(number, fields[1], fields[2], fields[3], LABELS[fields[0]])


def read_score_first(path: Path) -> Iterator[ScoredLine]:
    """``score enroll test label``."""
    for number, fields in _fields(path):
        if len(fields) != 4 or fields[3] not in LABELS:
            raise _misfit(path, number, "score-first", fields)
        yield ScoredLine(number, fields[1], fields[2], fields[0], LABELS[fields[3]])


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
    output"); the second column was called ``segment`` in 2016.
    """
    for number, row in nist_key.rows(path, needed=("modelid", "segmentid", "LLR")):
        yield ScoredLine(number, row["modelid"], nist_key.segment(row), row["LLR"], nist_key.label(row))


def read_nist_2010(path: Path) -> Iterator[ScoredLine]:
    """The system output of SRE06 to SRE10: nine fields, among them model, segment, side and score."""
    for number, fields in _fields(path):
        if not _is_nist_2010(fields):
            raise _misfit(path, number, "nist-2010", fields)
        row = {"segmentid": fields[5], "side": fields[6]}
        yield ScoredLine(number, fields[4], nist_key.segment(row), fields[8], UNLABELLED)


def read_trial_list(path: Path) -> TrialList:
    """A trial list of ours, Kaldi, VoxCeleb, WeSpeaker or 3D-Speaker, or a NIST list or key: ``nist_key``.

    Raises:
        DataError: as ``read_trials``; a NIST line of another length, with a target type that is none, or with
            a pair that is there twice.
    """
    if not nist_key.is_key(path):
        return read_trials(path)
    rows = nist_key.rows(path, needed=("modelid", "segmentid"))
    found = ScoreColumns.of(
        path,
        (
            ScoredLine(number, row["modelid"], nist_key.segment(row), b"0", nist_key.label(row))
            for number, row in rows
        ),
    )
    found.check_unique()
    return found.trials()


def read_key_columns(path: Path, columns: Sequence[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Values of ``columns`` of a NIST key by pair of ids, for instance of gender and num_enroll_segs.

    Raises:
        DataError: as ``read_trial_list``; a column that the header lacks.
    """
    rows = nist_key.rows(path, needed=("modelid", "segmentid", *columns))
    return {
        (row["modelid"].decode(), nist_key.segment(row).decode()): tuple(
            row[name].decode() for name in columns
        )
        for _, row in rows
    }


def _is_nist_2010(fields: Sequence[bytes]) -> bool:
    """Training type, adaptation, test type, sex, model, segment, side, decision, score."""
    choices = {1: (b"n", b"u"), 3: (b"m", b"f"), 6: (b"a", b"b"), 7: (b"t", b"f")}
    return len(fields) == 9 and all(fields[place] in values for place, values in choices.items())


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMATS = {
    "kaldi": _Format(
        "enroll test score",
        lambda f: len(f) == 3 and not nist_key.is_header(f) and (_is_number(f[2]) or not _is_number(f[0])),
        read_kaldi,
    ),
    "voxsrc": _Format(
        "score enroll test",
        lambda f: len(f) == 3 and _is_number(f[0]) and not _is_number(f[2]),
        read_voxsrc,
    ),
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
    "label-first": _Format(
        "target|nontarget enroll test score",
        lambda f: len(f) == 4 and f[0] in LABELS and _is_number(f[3]),
        read_label_first,
    ),
    "score-first": _Format(
        "score enroll test target|nontarget",
        lambda f: len(f) == 4 and _is_number(f[0]) and f[3] in LABELS and not _is_number(f[2]),
        read_score_first,
    ),
    "nist": _Format(
        "modelid<tab>segmentid<tab>side<tab>LLR under such a header", nist_key.is_header, read_nist
    ),
    "nist-2010": _Format(
        "train_type n|u test_type m|f model segment a|b t|f score", _is_nist_2010, read_nist_2010
    ),
}


_RARE = ("label-first", "score-first")  # where ids look like labels and scores, the others are meant


def _fields(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Fields of each line but the comments at the top."""
    at_top = True
    for number, line in lines(path):
        at_top = at_top and line.startswith(b"#")
        if not at_top:
            yield number, line.split()


def _misfit(path: Path, number: int, name: str, fields: list[bytes]) -> DataError:
    why = f"'{b' '.join(fields).decode()}' does not fit '{FORMATS[name].text}', the form of this file"
    return DataError(path, why, "write every line alike, or give --format", number)
