"""Detection metrics of scored trials: tie-safe error curve, EER, ROCCH-EER and minimum detection cost.

In: a ``ScoreTable`` whose every trial has a label; out: ``DetectionMetrics``, the same floats in whatever
order the trials come. ``detection(scores).eer``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.types import Float64Array, ScoreTable

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """An application: the prior of a target and the costs of the two errors."""

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __str__(self) -> str:
        """``0.01`` where both costs are 1, else ``0.01, 10:1`` with the costs of a miss and a false alarm."""
        costs = "" if self.c_miss == self.c_fa == 1 else f", {self.c_miss:g}:{self.c_fa:g}"
        return f"{self.p_target:g}{costs}"

    def cost(self, p_miss: Float64Array, p_fa: Float64Array) -> Float64Array:
        """Detection cost over that of the better system that ignores the speech (NIST SRE16 plan, section 3).

        Args:
            p_miss: miss rates, any shape.
            p_fa: false-alarm rates, the same shape.
        """
        miss_weight, fa_weight = self.c_miss * self.p_target, self.c_fa * (1.0 - self.p_target)
        return (miss_weight * p_miss + fa_weight * p_fa) / min(miss_weight, fa_weight)


OPERATING_POINTS: Mapping[str, OperatingPoint] = MappingProxyType(
    {
        "voxceleb": OperatingPoint(0.01),  # VoxCeleb and CN-Celeb papers; first point of NIST SRE16 and SRE18
        "voxsrc": OperatingPoint(0.05),  # VoxSRC challenges (scoring script of VoxSRC 2020)
        "sre08": OperatingPoint(0.01, c_miss=10.0),  # NIST SRE 2008 evaluation plan
        "sre10": OperatingPoint(0.001),  # NIST SRE 2010 evaluation plan, core test
        "sre16_second": OperatingPoint(0.005),  # NIST SRE16 and SRE18: C_primary averages it with 0.01
    }
)
DEFAULT_POINTS: Mapping[str, OperatingPoint] = MappingProxyType(
    {name: OPERATING_POINTS[name] for name in ("voxceleb", "voxsrc")}
)


@dataclass(frozen=True)
class ErrorCurve:
    """Errors of the rule "accept when score >= threshold", at every distinct score and at +inf.

    Attributes:
        thresholds: float64 [K], rising, the last +inf. Equal scores are one threshold and move together.
        num_miss: int64 [K], targets below the threshold: from 0 to all.
        num_fa: int64 [K], non-targets at or above the threshold: from all to 0.
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
        """Miss rates, float64 [K], from 0 to 1."""
        return self.num_miss / self.num_targets

    @property
    def p_fa(self) -> Float64Array:
        """False-alarm rates, float64 [K], from 1 to 0."""
        return self.num_fa / self.num_nontargets


@dataclass(frozen=True, slots=True)
class DetectionMetrics:
    """What is reported of one score list.

    Attributes:
        eer: equal error rate in [0, 1], see ``equal_error_rate``.
        eer_threshold: the score t, a score of the list, at which "accept when score >= t" has the closest
            miss and false-alarm rates (the lowest such t).
        rocch_eer: equal error rate on the ROC convex hull, see ``rocch_equal_error_rate``.
        min_dcf: minimum normalised detection cost, in [0, 1], by name of operating point.
        num_targets: number of target trials.
        num_nontargets: number of non-target trials.
    """

    eer: float
    eer_threshold: float
    rocch_eer: float
    min_dcf: dict[str, float]
    num_targets: int
    num_nontargets: int


def detection(table: ScoreTable, points: Mapping[str, OperatingPoint] = DEFAULT_POINTS) -> DetectionMetrics:
    """All metrics of ``table``.

    Raises:
        DataError: as ``error_curve``.
    """
    curve = error_curve(table)
    p_miss, p_fa = curve.p_miss, curve.p_fa
    return DetectionMetrics(
        eer=float(equal_error_rate(p_miss, p_fa)),
        eer_threshold=float(curve.thresholds[np.argmin(np.abs(p_miss - p_fa))]),
        rocch_eer=rocch_equal_error_rate(curve),
        min_dcf={name: float(point.cost(p_miss, p_fa).min()) for name, point in points.items()},
        num_targets=curve.num_targets,
        num_nontargets=curve.num_nontargets,
    )


def error_curve(table: ScoreTable) -> ErrorCurve:
    """The error curve of ``table``: one sort, then counting.

    Raises:
        DataError: a trial without label, a score that is NaN or Inf, no target or no non-target trial;
            the first such trial is named.
    """
    check_scores(table)
    order = np.argsort(table.scores)
    scores, is_target = table.scores[order], table.trials.labels[order] == 1
    targets_below = np.concatenate(([0], np.cumsum(is_target, dtype=np.int64)))
    distinct = np.flatnonzero(scores[1:] != scores[:-1]) + 1
    trials_below = np.concatenate(([0], distinct, [len(scores)]))
    num_miss = targets_below[trials_below]
    num_nontargets = len(scores) - num_miss[-1]
    return ErrorCurve(
        thresholds=np.append(scores[trials_below[:-1]], np.inf),
        num_miss=num_miss,
        num_fa=num_nontargets - (trials_below - num_miss),
    )


def check_scores(table: ScoreTable) -> None:
    """Refuse what no metric is defined on.

    Raises:
        DataError: see ``error_curve``.
    """
    trials, scores = table.trials, table.scores
    if scores.shape != (len(trials),):
        raise DataError(trials.name, f"{len(trials)} trials but scores of shape {scores.shape}")
    for bad, why in ((trials.labels < 0, "has no label"), (~np.isfinite(scores), "has a NaN or Inf score")):
        rows = np.flatnonzero(bad)
        if len(rows):
            pair = f"{trials.enroll_ids[rows[0]]} {trials.test_ids[rows[0]]}"
            raise DataError(trials.name, f"trial '{pair}' {why} ({len(rows)} such trials)")
    for label, kind in ((1, "target"), (0, "nontarget")):
        if not (trials.labels == label).any():
            raise DataError(
                trials.name, f"no {kind} trial among {len(trials)}", "error rates need trials of both kinds"
            )


def equal_error_rate(p_miss: Float64Array, p_fa: Float64Array) -> Float64Array:
    """Where the curve through the points (P_fa, P_miss), joined by straight lines, has P_fa = P_miss.

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


def rocch_equal_error_rate(curve: ErrorCurve) -> float:
    """Equal error rate on the lower convex hull of the error curve (Brummer and de Villiers, BOSARIS, 2011).

    It equals the largest minimum error over all priors, and is never above the EER. Only the hull
    edge that crosses P_fa = P_miss is sought: the chord over the crossing drops to the farthest point below
    it until there is none. Counts are integers, so that "below" is exact.
    """
    miss, fa = curve.num_miss, curve.num_fa
    left, right = 0, len(miss) - 1
    while True:
        rise, fall = miss[right] - miss[left], fa[left] - fa[right]
        height = fall * (miss[left:right] - miss[left]) + rise * (fa[left:right] - fa[left])
        lowest = left + int(np.argmin(height))
        if height[lowest - left] == 0:
            edge = [left, right]
            return float(equal_error_rate(curve.p_miss[edge], curve.p_fa[edge]))
        if miss[lowest] * curve.num_nontargets < fa[lowest] * curve.num_targets:
            left = lowest
        else:
            right = lowest
