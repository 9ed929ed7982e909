"""Trial lists of millions of lines, read in seconds: ids are kept once, labels are a byte each.

``trials = read_trials(Path("data/test/trials"))``; ``write_trials(path, trials)``. It reads
``a b target|nontarget``, ``a b 1|0``, ``1|0 a b`` and, without labels, ``a b``; it writes the first.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speakerlab.data.faults import REPAIR, Report, stop
from speakerlab.data.lines import lines, write_table
from speakerlab.errors import DataError
from speakerlab.types import TrialList

_DIGITS = {b"1": 1, b"0": 0}
_WORDS = {b"target": 1, b"nontarget": 0}


@dataclass(frozen=True)
class _Form:
    """One way to write a trial; ``label`` is the column of the label, None without one."""

    text: str
    num_columns: int
    enroll: int
    test: int
    label: int | None
    values: Mapping[bytes, int]

    def read(self, fields: list[bytes]) -> int | None:
        """The label, -1 where the form has none; None if ``fields`` are not of this form."""
        if len(fields) != self.num_columns:
            return None
        return -1 if self.label is None else self.values.get(fields[self.label])


_UNLABELLED = _Form("a b", 2, 0, 1, None, {})
_KALDI = _Form("a b target|nontarget", 3, 0, 1, 2, _WORDS)
_DIGIT_LAST = _Form("a b 1|0", 3, 0, 1, 2, _DIGITS)
_DIGIT_FIRST = _Form("1|0 a b", 3, 1, 2, 0, _DIGITS)
_FORMS = (_UNLABELLED, _KALDI, _DIGIT_LAST, _DIGIT_FIRST)
_CHOICE = "'{}', or '{}', or '{}', or '{}'".format(*(form.text for form in _FORMS))


def read_trials(path: Path, known: Container[str] | None = None, report: Report = stop) -> TrialList:
    """The trials of ``path``, in file order; memory beside the result is about 60 bytes a line.

    The first line decides the form of the whole file. A last column of ``target`` or ``nontarget`` is the
    label whatever the first is. Where first and last are both 1 or 0, as ids may be, the next line that fits
    one form only decides.

    Args:
        path: the list.
        known: the ids there are, if a trial of any other id is a fault.
        report: told of each fault; if it returns, the trial is left out.

    Raises:
        DataError: bad or empty file, mixed forms, a pair that is there twice, an unknown id.
    """
    form = _form(path, report)
    codes: dict[bytes, int] = {}
    enroll, test, labels, numbers = array("i"), array("i"), array("b"), array("i")
    for number, line in lines(path, report):
        fields = line.split()
        label = form.read(fields)
        if label is None:
            why = f"'{line.decode().rstrip()}' does not fit '{form.text}', the form of this list"
            report(DataError(path, why, f"write every line as {_CHOICE}", number))
            continue
        enroll.append(codes.setdefault(fields[form.enroll], len(codes)))
        test.append(codes.setdefault(fields[form.test], len(codes)))
        labels.append(label)
        numbers.append(number)
    ids = [code.decode() for code in codes]
    places = np.stack([enroll, test])
    columns = _Columns(path, ids, places, np.asarray(labels), np.asarray(numbers))
    if known is not None:
        columns = columns.known(known, report)
    return columns.unique(report).trials()


def _form(path: Path, report: Report) -> _Form:
    """The form of the first line that fits any; where it fits two, lines below narrow them down."""
    forms: tuple[_Form, ...] = ()
    for _, line in lines(path, lambda _: None):
        fields = line.split()
        forms = tuple(form for form in forms or _FORMS if form.read(fields) is not None) or forms
        if _KALDI in forms:
            return _KALDI
        if len(forms) == 1:
            return forms[0]
    if forms:
        why = "every line could have its label in the first or in the last column"
        report(DataError(path, why, f"write: {_KALDI.text}"))
    return _KALDI


@dataclass(frozen=True)
class _Columns:
    """A trial list as integers: ``places`` of enrolment and test in ``ids`` [2, N], labels and lines [N]."""

    path: Path
    ids: list[str]
    places: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int8]
    numbers: npt.NDArray[np.int32]

    def known(self, known: Container[str], report: Report) -> _Columns:
        """The trials whose ids are both in ``known``; others are reported."""
        strange = np.array([i not in known for i in self.ids], dtype=bool)
        bad = strange[self.places[0]] | strange[self.places[1]]
        for row in np.flatnonzero(bad):
            name = next(self.ids[place] for place in self.places[:, row] if strange[place])
            why = f"'{name}' is not an utterance of this data dir"
            report(DataError(self.path, why, REPAIR + "drop such trials", int(self.numbers[row])))
        return self._where(~bad)

    def unique(self, report: Report) -> _Columns:
        """The first trial of each pair; repeated ones are reported."""
        pairs = self.places[0].astype(np.int64) * len(self.ids) + self.places[1]
        order = np.argsort(pairs, kind="stable")
        again = np.flatnonzero(pairs[order[1:]] == pairs[order[:-1]])
        for before, row in sorted(zip(order[again], order[again + 1], strict=True), key=lambda pair: pair[1]):
            why = f"this pair is on line {self.numbers[before]} already"
            fix = REPAIR + "drop repeated trials"
            if self.labels[before] != self.labels[row]:
                why, fix = f"{why}, with another label", "keep the right one of the two"
            report(DataError(self.path, why, fix, int(self.numbers[row])))
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
