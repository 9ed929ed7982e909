"""Trial lists of any length: read whole, ids kept once and labels a byte each, or in blocks.

``trials = read_trials(Path("data/test/trials"))``; ``for block in trial_blocks(path): ...`` holds one block
at a time; ``write_trials(path, trials)``. It reads ``a b target|nontarget``, ``a b 1|0``, ``1|0 a b`` and,
without labels, ``a b``; it writes the first.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speakerlab.data.faults import REPAIR, Report, stop
from speakerlab.data.lines import blocks, columns, lines, write_table
from speakerlab.errors import DataError
from speakerlab.types import TrialList

_DIGITS = {b"1": 1, b"0": 0}
_WORDS = {b"target": 1, b"nontarget": 0}


@dataclass(frozen=True)
class TrialBlock:
    """Consecutive trials of a list, ids as they are written there.

    Attributes:
        enroll_ids: n ids of enrolment utterances or models.
        test_ids: n ids of test utterances.
        labels: int8 [n]: 1 target, 0 non-target, -1 unknown.
        lines: int64 [n], line numbers from 1.
    """

    enroll_ids: Sequence[bytes]
    test_ids: Sequence[bytes]
    labels: npt.NDArray[np.int8]
    lines: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Form:
    """One way to write a trial; ``label`` is the column of the label, None without one."""

    text: str
    num_columns: int
    enroll: int
    test: int
    label: int | None
    values: Mapping[bytes, int]

    def fits(self, fields: Sequence[bytes]) -> bool:
        """Whether ``fields``, those of one line, are of this form."""
        if len(fields) != self.num_columns:
            return False
        return self.label is None or fields[self.label] in self.values

    def read(self, block: bytes, number: int) -> TrialBlock | None:
        """The trials of a piece of the file that starts on line ``number``; None if a line does not fit."""
        fields = columns(block, self.num_columns)
        if fields is None:
            return None
        size = len(fields[0])
        labels = np.full(size, -1, dtype=np.int8)
        if self.label is not None:
            try:
                labels = np.fromiter(map(self.values.__getitem__, fields[self.label]), np.int8, size)
            except KeyError:
                return None
        return TrialBlock(fields[self.enroll], fields[self.test], labels, np.arange(number, number + size))


_UNLABELLED = _Form("a b", 2, 0, 1, None, {})
_KALDI = _Form("a b target|nontarget", 3, 0, 1, 2, _WORDS)
_DIGIT_LAST = _Form("a b 1|0", 3, 0, 1, 2, _DIGITS)
_DIGIT_FIRST = _Form("1|0 a b", 3, 1, 2, 0, _DIGITS)
_FORMS = (_UNLABELLED, _KALDI, _DIGIT_LAST, _DIGIT_FIRST)
_CHOICE = "'{}', or '{}', or '{}', or '{}'".format(*(form.text for form in _FORMS))


def trial_blocks(path: Path, report: Report = stop) -> Iterator[TrialBlock]:
    """The trials of ``path`` in file order, tens of thousands at a time: memory does not grow with the list.

    The first line decides the form of the whole file. A last column of ``target`` or ``nontarget`` is the
    label whatever the first is. Where first and last are both 1 or 0, as ids may be, the next line that fits
    one form only decides.

    Raises:
        DataError: (or reported) bad or empty file, mixed forms. Repeated pairs are for the caller to find.
    """
    form = _form(path, report)
    for number, block in blocks(path, report):
        trials = form.read(block, number)
        if trials is not None:
            yield trials
        else:
            yield from _good_lines(path, form, block, number, report)


def _good_lines(path: Path, form: _Form, block: bytes, number: int, report: Report) -> Iterator[TrialBlock]:
    """The trials of a piece in which some lines do not fit, each of which is reported."""
    for place, line in enumerate(block.split(b"\n"), number):
        trial = form.read(line, place) if form.fits(line.split()) else None
        if trial is not None:
            yield trial
        else:
            why = f"'{line.decode().rstrip()}' does not fit '{form.text}', the form of this list"
            report(DataError(path, why, f"write every line as {_CHOICE}", place))


def _form(path: Path, report: Report) -> _Form:
    """The form of the first line that fits any; where it fits two, lines below narrow them down."""
    forms: tuple[_Form, ...] = ()
    for _, line in lines(path, lambda _: None):
        fields = line.split()
        forms = tuple(form for form in forms or _FORMS if form.fits(fields)) or forms
        if _KALDI in forms:
            return _KALDI
        if len(forms) == 1:
            return forms[0]
    if forms:
        why = "every line could have its label in the first or in the last column"
        report(DataError(path, why, f"write: {_KALDI.text}"))
    return _KALDI


class _Codes(dict[bytes, int]):
    """Numbers ids in the order in which they are looked up first."""

    def __missing__(self, key: bytes) -> int:
        code = self[key] = len(self)
        return code


def read_trials(
    path: Path,
    known: Container[str] | None = None,
    report: Report = stop,
    models: Collection[str] = (),
) -> TrialList:
    """The trials of ``path``, in file order; memory beside the result is about 60 bytes a line.

    Args:
        path: the list, in any form ``trial_blocks`` reads.
        known: the utterances there are, if a trial of any other id is a fault.
        report: told of each fault; if it returns, the trial is left out.
        models: ids that the enrolment side may have too.

    Raises:
        DataError: bad or empty file, mixed forms, a pair that is there twice, an unknown id.
    """
    codes, places, labels, numbers = _Codes(), [], [], []
    for block in trial_blocks(path, report):
        sides = (block.enroll_ids, block.test_ids)
        size = len(block.labels)
        places.append(np.stack([np.fromiter(map(codes.__getitem__, ids), np.int32, size) for ids in sides]))
        labels.append(block.labels)
        numbers.append(block.lines)
    ids = [code.decode() for code in codes]
    empty = np.empty(0, dtype=np.int64)
    read = _Columns(
        path,
        ids,
        np.concatenate([np.empty((2, 0), dtype=np.int32), *places], axis=1),
        np.concatenate([empty.astype(np.int8), *labels]),
        np.concatenate([empty, *numbers]),
    )
    if known is not None:
        read = read.known(known, models, report)
    return read.unique(report).trials()


@dataclass(frozen=True)
class _Columns:
    """A trial list as integers: ``places`` of enrolment and test in ``ids`` [2, N], labels and lines [N]."""

    path: Path
    ids: list[str]
    places: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int8]
    numbers: npt.NDArray[np.int64]

    def known(self, known: Container[str], models: Collection[str], report: Report) -> _Columns:
        """The trials of ids in ``known``, on the enrolment side also of ``models``; others are reported.

        Only trials of utterances that are gone are for the fixer to drop, never those of models.
        """
        strange = np.array([i not in known for i in self.ids], dtype=bool)
        no_model = np.array([i not in models for i in self.ids], dtype=bool) & strange
        unfit = np.stack([no_model[self.places[0]], strange[self.places[1]]])
        if len(self.numbers) and unfit[0].all():
            why = f"neither '{self.ids[self.places[0, 0]]}' nor another enrolment id is an utterance here"
            fix = "if they are models, write enroll.map: model utt1 utt2 ..."
            report(DataError(self.path, why, fix, int(self.numbers[0])))
            return self._where(~unfit[0])
        is_unfit = unfit[0] | unfit[1]
        for row in np.flatnonzero(is_unfit):
            name = self.ids[self.places[0 if unfit[0, row] else 1, row]]
            why, fix = f"'{name}' is not an utterance of this data dir", REPAIR + "drop such trials"
            if models and unfit[0, row]:
                why, fix = f"'{name}' is no model of enroll.map", "add it there, or delete its trials"
            report(DataError(self.path, why, fix, int(self.numbers[row])))
        return self._where(~is_unfit)

    def unique(self, report: Report) -> _Columns:
        """The first trial of each pair; repeated ones are reported."""
        pairs = self.places[0].astype(np.int64) * len(self.ids) + self.places[1]
        ordered = np.sort(pairs)  # half the price of the order, which only a faulty list needs
        if not (ordered[1:] == ordered[:-1]).any():
            return self
        order = np.argsort(pairs, kind="stable")
        again = np.flatnonzero(pairs[order[1:]] == pairs[order[:-1]])
        for before, row in sorted(zip(order[again], order[again + 1], strict=True), key=lambda pair: pair[1]):
            lines = int(self.numbers[before]), int(self.numbers[row])
            report(_repeated(self.path, lines, same_label=bool(self.labels[before] == self.labels[row])))
        first = np.ones(len(pairs), dtype=bool)
        first[order[again + 1]] = False
        return self._where(first)

    def trials(self) -> TrialList:
        """With ids for places; each id is one string however often it is used."""
        enroll_ids, test_ids = (np.array(self.ids, dtype=object)[column].tolist() for column in self.places)
        return TrialList(enroll_ids, test_ids, self.labels, str(self.path))

    def _where(self, keep: npt.NDArray[np.bool_]) -> _Columns:
        if keep.all():
            return self
        places, labels, numbers = self.places[:, keep], self.labels[keep], self.numbers[keep]
        return _Columns(self.path, self.ids, places, labels, numbers)


def _repeated(path: Path, lines: tuple[int, int], *, same_label: bool) -> DataError:
    why, fix = f"this pair is on line {lines[0]} already", REPAIR + "drop repeated trials"
    if not same_label:
        why, fix = f"{why}, with another label", "keep the right one of the two"
    return DataError(path, why, fix, lines[1])


def repeated_pair(path: Path, enroll_id: str, test_id: str) -> DataError:
    """The error that a pair of ``path`` that is there twice deserves; the list is read for its lines."""
    pair, found = (enroll_id.encode(), test_id.encode()), []
    for block in trial_blocks(path):
        if pair[0] in block.enroll_ids:
            pairs = zip(block.enroll_ids, block.test_ids, strict=True)
            found += [
                (block.lines[row], block.labels[row]) for row, other in enumerate(pairs) if other == pair
            ]
    (first, label), (second, other_label), *_ = found
    return _repeated(path, (int(first), int(second)), same_label=bool(label == other_label))


def write_trials(path: Path, trials: TrialList) -> None:
    """Publish ``trials`` as ``enroll test target|nontarget``, or ``enroll test`` if no label is known.

    Raises:
        DataError: some labels are known and some are not.
    """
    unknown = trials.labels < 0
    if unknown.any() and not unknown.all():
        raise DataError(path, f"{unknown.sum()} of {len(trials)} trials have no label", "label all or none")
    pairs = zip(trials.enroll_ids, trials.test_ids, strict=True)
    if unknown.any():
        write_table(path, pairs)
    else:
        names = (("nontarget", "target")[label] for label in trials.labels.tolist())
        write_table(path, ((enroll, test, name) for (enroll, test), name in zip(pairs, names, strict=True)))
