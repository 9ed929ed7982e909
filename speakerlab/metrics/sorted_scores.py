"""Scores of targets and non-targets, each checked and sorted once: what every metric is computed from.

In: a ``ScoreTable`` or two arrays; out: ``SortedScores``. ``sort_scores(targets, nontargets, in_place=True)``
holds nothing beside the two arrays: 10^8 scores fit in 400 MB as float32.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.types import ScoreTable, TrialList

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SortedScores:
    """Scores in rising order, higher meaning more likely the same speaker; both finite, none empty.

    Attributes:
        targets: float32 or float64 [T].
        nontargets: [N] of the same type.
        name: where the scores came from, for messages.
    """

    targets: FloatArray
    nontargets: FloatArray
    name: str = "scores"

    def num_below(self, threshold: float) -> tuple[int, int]:
        """Targets and non-targets with a score below ``threshold``: misses and correct rejections."""
        exact = np.float64(threshold)  # a Python float would be rounded to the type of the scores
        return bisect_left(self.targets, exact), bisect_left(self.nontargets, exact)


def sort_scores(
    targets: FloatArray, nontargets: FloatArray, *, name: str = "scores", in_place: bool = False
) -> SortedScores:
    """Check and sort two arrays of scores; without ids, that no trial is there twice is up to the caller.

    Args:
        targets: scores of same-speaker trials, [T], float32 or float64.
        nontargets: scores of different-speaker trials, [N]. Of two types, both become float64.
        name: where the scores came from, for messages.
        in_place: sort the caller's arrays instead of copies.

    Raises:
        DataError: an array that is not one-dimensional, no target or no non-target, a NaN or Inf.
    """
    sort_type: type[np.floating[Any]] = np.float64
    if targets.dtype == nontargets.dtype == np.float32:
        sort_type = np.float32

    def checked(given: FloatArray, kind: str) -> FloatArray:
        if given.ndim != 1:
            raise DataError(name, f"{kind} scores of shape {given.shape}", "give one score per trial")
        if not len(given):
            raise DataError(name, f"no {kind} trial", "error rates need trials of both kinds")
        scores = given.astype(sort_type, copy=not in_place)
        scores.sort()
        if not (np.isfinite(scores[0]) and np.isfinite(scores[-1])):  # NaN is sorted last
            bad = int((~np.isfinite(scores)).sum())
            raise DataError(name, f"NaN or Inf among the {kind} scores ({bad} of {len(scores)})")
        return scores

    return SortedScores(checked(targets, "target"), checked(nontargets, "nontarget"), name)


def sorted_scores(scores: ScoreTable | SortedScores) -> SortedScores:
    """``scores`` themselves, or the checked and sorted scores of a table.

    Raises:
        DataError: see ``check_table``.
    """
    if isinstance(scores, SortedScores):
        return scores
    check_table(scores)
    is_target = scores.trials.labels == 1
    found = scores.scores[is_target], scores.scores[~is_target]
    return sort_scores(*found, name=scores.trials.name, in_place=True)


def check_table(table: ScoreTable) -> None:
    """Refuse what no metric is defined on.

    Raises:
        DataError: a trial without label or listed twice, a score that is NaN or Inf, no target or no
            non-target trial; the first such trial is named.
    """
    trials, scores = table.trials, table.scores
    if scores.shape != (len(trials),):
        raise DataError(trials.name, f"{len(trials)} trials but scores of shape {scores.shape}")
    for label, kind in ((1, "target"), (0, "nontarget")):
        if not (trials.labels == label).any() and (trials.labels >= 0).all():
            raise DataError(
                trials.name, f"no {kind} trial among {len(trials)}", "error rates need trials of both kinds"
            )
    faults = (
        (trials.labels < 0, "has no label"),
        (~np.isfinite(scores), "has a NaN or Inf score"),
        (is_repeated(trials), "is listed twice"),
    )
    for bad, why in faults:
        rows = np.flatnonzero(bad)
        if len(rows):
            pair = f"{trials.enroll_ids[rows[0]]} {trials.test_ids[rows[0]]}"
            raise DataError(trials.name, f"trial '{pair}' {why} ({len(rows)} such trials)")


def is_repeated(trials: TrialList) -> npt.NDArray[np.bool_]:
    """Whether the same pair of ids stands earlier in the list, bool [N]."""
    places = {i: place for place, i in enumerate({*trials.enroll_ids, *trials.test_ids})}

    def numbers(ids: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.fromiter(map(places.__getitem__, ids), dtype=np.int64, count=len(ids))

    pairs = numbers(trials.enroll_ids) * len(places) + numbers(trials.test_ids)
    repeated = np.ones(len(pairs), dtype=np.bool_)
    repeated[np.unique(pairs, return_index=True)[1]] = False
    return repeated
