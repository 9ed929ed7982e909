"""The lines of a score file by column, and their order by that of a trial list.

In: ``ScoredLine`` by line, whatever the format; out: a ``ScoreTable``.
``ScoreColumns.of(path, lines).arranged(trials)``
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.io import scores
from speakerlab.types import ScoreTable, TrialList

Int64Array = npt.NDArray[np.int64]
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class ScoredLine:
    """One line: where it is, the pair, the score as it is written, and the label, -1 if it has none."""

    number: int
    enroll_id: bytes
    test_id: bytes
    score: bytes
    label: int


@dataclass(frozen=True)
class ScoreColumns:
    """A score file of N lines by column.

    Attributes:
        path: the file, for messages.
        ids: enrolment and test ids, each once.
        enroll: int64 [N], places in ``ids``.
        test: int64 [N], likewise.
        scores: float64 [N], finite.
        labels: int8 [N]: 1 target, 0 non-target, -1 unknown.
        numbers: int64 [N], line numbers.
    """

    path: Path
    ids: list[str]
    enroll: Int64Array
    test: Int64Array
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    numbers: Int64Array

    @classmethod
    def of(cls, path: Path, rows: Iterator[ScoredLine]) -> ScoreColumns:
        """The columns of ``rows``, the lines of ``path``.

        Raises:
            DataError: a score that is not a finite number; no line.
        """
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
        """The scores with the labels of the file itself.

        Raises:
            DataError: no labels, or a pair that is there twice.
        """
        if (self.labels == UNLABELLED).any():
            raise DataError(self.path, "the scores have no labels", "give the trial list: --trials")
        self.check_unique()
        return ScoreTable(self.trials(), self.scores)

    def check_unique(self) -> None:
        """Refuse a file that has a pair twice.

        Raises:
            DataError: the first such line.
        """
        self._fault(_is_again(self.enroll * len(self.ids) + self.test), "is there twice")

    def arranged(self, trials: TrialList) -> ScoreTable:
        """The scores of exactly the pairs in ``trials``, in their order, with the labels that either knows.

        Raises:
            DataError: a pair that is scored twice, is no trial or has no score; labels that differ.
        """
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


def _finite(path: Path, row: ScoredLine) -> float:
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
