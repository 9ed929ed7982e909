"""Tie-safe error curve of sorted scores, and what is read off it: EER, ROCCH-EER, FNR at a given FPR.

In: ``SortedScores`` or a ``ScoreTable``; out: ``ErrorCurve``, corners only, the same in whatever order the
trials come. ``curve = error_curve(table); equal_error_rate(curve.p_miss, curve.p_fa)``
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speakerlab.metrics.sorted_scores import FloatArray, SortedScores, sorted_scores
from speakerlab.types import Float64Array, ScoreTable

Int64Array = npt.NDArray[np.int64]
BLOCK_SCORES = 2**20  # distinct scores handled at once: the memory beside the scores and the curve


@dataclass(frozen=True)
class ErrorCurve:
    """Errors of the rule "accept when score >= threshold" where the curve turns, and at its two ends.

    Thresholds between two that are kept move along the straight line between their points: only targets, or
    only non-targets, lie there. Equal scores are one threshold and move together.

    Attributes:
        thresholds: float64 [K], rising: scores of the list, the lowest of all first, +inf last.
        num_miss: int64 [..., K], targets below the threshold: from 0 to all. The bootstrap adds a dimension.
        num_fa: int64 [..., K], non-targets at or above the threshold: from all to 0.
    """

    thresholds: Float64Array
    num_miss: Int64Array
    num_fa: Int64Array

    @property
    def num_targets(self) -> int:
        """Number of target trials."""
        return int(self.num_miss[-1])

    @property
    def num_nontargets(self) -> int:
        """Number of non-target trials."""
        return int(self.num_fa[0])

    @property
    def p_miss(self) -> Float64Array:
        """Miss rates, float64 [..., K], from 0 to 1."""
        return self.num_miss / self.num_miss[..., -1:]

    @property
    def p_fa(self) -> Float64Array:
        """False-alarm rates, float64 [..., K], from 1 to 0."""
        return self.num_fa / self.num_fa[..., :1]


def error_curve(scores: ScoreTable | SortedScores) -> ErrorCurve:
    """The error curve of ``scores``: at most two corners for each distinct score of the rarer kind.

    Raises:
        DataError: as ``sorted_scores``.
    """
    known = sorted_scores(scores)
    targets, nontargets = known.targets, known.nontargets
    lowest = min(targets[0], nontargets[0])
    few, many = (targets, nontargets) if len(targets) <= len(nontargets) else (nontargets, targets)
    starts = np.concatenate(([0], np.flatnonzero(few[1:] != few[:-1]) + 1, [len(few)]))
    firsts = range(0, len(starts) - 1, BLOCK_SCORES)
    blocks = [_corners(few, many, starts[at : at + BLOCK_SCORES + 1]) for at in firsts]
    starting, ending = (lowest, 0, 0), (np.inf, len(few), len(many))
    columns = [
        np.concatenate(([first], *column, [last]))
        for first, column, last in zip(starting, zip(*blocks, strict=True), ending, strict=True)
    ]
    thresholds, few_below, many_below = _without_straight(*columns)
    miss, rejected = (few_below, many_below) if few is targets else (many_below, few_below)
    return ErrorCurve(thresholds.astype(np.float64, copy=False), miss, len(nontargets) - rejected)


def _corners(
    few: FloatArray, many: FloatArray, starts: Int64Array
) -> tuple[Float64Array, Int64Array, Int64Array]:
    """Thresholds at and just above each distinct score of ``few``, and how many of either kind are below.

    Args:
        few: sorted scores of one kind.
        many: sorted scores of the other.
        starts: where the distinct scores of ``few`` to handle start, then where the last of them ends.
    """
    values = few[starts[:-1]]
    below, up_to = np.searchsorted(many, values), np.searchsorted(many, values, side="right")
    following = np.append(few[starts[1:-1]], few[starts[-1]] if starts[-1] < len(few) else np.inf)
    next_of_many = np.where(up_to < len(many), many[np.minimum(up_to, len(many) - 1)], np.inf)
    thresholds = np.stack([values, np.minimum(following, next_of_many)], axis=1).ravel()
    few_below = np.stack([starts[:-1], starts[1:]], axis=1).ravel()
    many_below = np.stack([below, up_to], axis=1).ravel()
    return _without_straight(thresholds, few_below, many_below)


def _without_straight(
    thresholds: Float64Array, few_below: Int64Array, many_below: Int64Array
) -> tuple[Float64Array, Int64Array, Int64Array]:
    """The points without those that repeat their predecessor or lie inside a run of one kind of trial.

    Where trials of both kinds are tied the curve runs diagonally; such points stay, since under the weights
    of the bootstrap no two diagonals have the same slope.
    """
    columns = thresholds, few_below, many_below
    moved = (np.diff(few_below) > 0) | (np.diff(many_below) > 0)
    columns = _selected(columns, np.concatenate(([True], moved)))
    few_moves, many_moves = np.diff(columns[1]) > 0, np.diff(columns[2]) > 0
    turns = (few_moves[:-1] | few_moves[1:]) & (many_moves[:-1] | many_moves[1:])
    return _selected(columns, np.concatenate(([True], turns, [True])))


def _selected(
    columns: tuple[Float64Array, Int64Array, Int64Array], rows: npt.NDArray[np.bool_]
) -> tuple[Float64Array, Int64Array, Int64Array]:
    thresholds, few_below, many_below = columns
    return thresholds[rows], few_below[rows], many_below[rows]


def equal_error_rate(p_miss: Float64Array, p_fa: Float64Array) -> Float64Array:
    """Interpolated EER: where the points (P_fa, P_miss), joined by straight lines, have P_fa = P_miss.

    Args:
        p_miss: [..., K], rising from 0 to 1 along the last axis.
        p_fa: [..., K], falling from 1 to 0.

    Returns:
        The rates, float64 [...]. All scores equal gives 0.5: such a system is a coin.
    """
    after = np.argmax(p_miss >= p_fa, axis=-1)[..., None]  # never 0: the first point is (1, 0)
    miss_0, miss_1 = (np.take_along_axis(p_miss, row, axis=-1)[..., 0] for row in (after - 1, after))
    fa_0, fa_1 = (np.take_along_axis(p_fa, row, axis=-1)[..., 0] for row in (after - 1, after))
    rise, fall = miss_1 - miss_0, fa_0 - fa_1
    crossing: Float64Array = (miss_0 * fall + fa_0 * rise) / (rise + fall)
    return crossing


def equal_error_threshold(scores: SortedScores) -> float:
    """The score t of the list at which "accept when score >= t" has the closest error rates, the lowest such.

    P_miss - P_fa rises with every distinct score, so that only the scores beside its change of sign matter.
    """
    num_targets, num_nontargets = len(scores.targets), len(scores.nontargets)

    def difference(threshold: float) -> int:
        miss, rejected = scores.num_below(threshold)
        return miss * num_nontargets - (num_nontargets - rejected) * num_targets  # exact, however many trials

    beside: list[float] = []
    for values in (scores.targets, scores.nontargets):
        after = bisect_left(values, 0, key=difference)
        beside += values[max(after - 1, 0) : after + 1].tolist()
    return min(beside, key=lambda score: (abs(difference(score)), score))


def rocch_equal_error_rate(num_miss: Int64Array, num_fa: Int64Array) -> float:
    """EER on the lower convex hull of one error curve (Brummer and de Villiers, BOSARIS, 2011).

    It equals the largest minimum error over all priors, and is never above the interpolated EER. Only the
    hull edge that crosses P_fa = P_miss is sought: the chord over the crossing drops to the farthest point
    below it until there is none. Counts are integers, so that "below" is exact.

    Args:
        num_miss: int64 [K], see ``ErrorCurve``.
        num_fa: int64 [K].
    """
    num_targets, num_nontargets = int(num_miss[-1]), int(num_fa[0])
    left, right = 0, len(num_miss) - 1
    while True:
        rise, fall = num_miss[right] - num_miss[left], num_fa[left] - num_fa[right]
        height = fall * (num_miss[left:right] - num_miss[left]) + rise * (num_fa[left:right] - num_fa[left])
        lowest = left + int(np.argmin(height))
        if height[lowest - left] == 0:
            edge = [left, right]
            return float(equal_error_rate(num_miss[edge] / num_targets, num_fa[edge] / num_nontargets))
        if num_miss[lowest] * num_nontargets < num_fa[lowest] * num_targets:
            left = lowest
        else:
            right = lowest


def fnr_at_fpr(p_miss: Float64Array, p_fa: Float64Array, fpr: float) -> Float64Array:
    """The lowest miss rate of any threshold whose false-alarm rate is at most ``fpr``; no interpolation.

    Args:
        p_miss: [..., K], rising from 0 to 1 along the last axis.
        p_fa: [..., K], falling from 1 to 0.
        fpr: false-alarm rate in [0, 1].

    Returns:
        Miss rates, float64 [...].

    Raises:
        ValueError: a rate outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"{fpr} is not a false-alarm rate")
    first = np.argmax(p_fa <= fpr, axis=-1)[..., None]
    rates: Float64Array = np.take_along_axis(p_miss, first, axis=-1)[..., 0]
    return rates
