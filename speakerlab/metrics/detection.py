"""The detection metrics of one system on one trial list.

In: a ``ScoreTable`` whose every trial has a label, or ``SortedScores``; out: ``DetectionMetrics``, the same
floats in whatever order the trials come. ``detection(scores).eer``; ``detection(scores, llr=True).cllr``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import numpy as np

from speakerlab.metrics.error_curve import (
    ErrorCurve,
    Int64Array,
    equal_error_rate,
    equal_error_threshold,
    error_curve,
    fnr_at_fpr,
    rocch_equal_error_rate,
)
from speakerlab.metrics.log_likelihood_ratio import cllr, min_cllr
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, Preset, points_of
from speakerlab.metrics.sorted_scores import SortedScores, sorted_scores
from speakerlab.types import Float64Array, ScoreTable

FPRS = (0.01, 0.001)
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Figures(Generic[T]):
    """One ``T`` for each metric: its value, its bootstrap draws, its interval, or a difference of systems.

    Attributes:
        eer: equal error rate in [0, 1], interpolated, see ``equal_error_rate``.
        rocch_eer: equal error rate on the ROC convex hull, see ``rocch_equal_error_rate``.
        min_cllr: Cllr after the best monotone calibration, see ``min_cllr``.
        min_dcf: normalised detection cost at the best threshold, in [0, 1], by text of the operating point.
        min_c_primary: mean of ``min_dcf`` over the points of a preset, by name of the preset.
        fnr_at_fpr: lowest miss rate with at most this false-alarm rate, by its text, see ``fnr_at_fpr``.
        cllr: cost of log-likelihood ratios in bits; None where the scores are not such, like the next two.
        act_dcf: normalised detection cost at the Bayes threshold, by point; empty.
        act_c_primary: mean of ``act_dcf`` over the points of a preset; empty.
    """

    eer: T
    rocch_eer: T
    min_cllr: T
    min_dcf: dict[str, T]
    min_c_primary: dict[str, T]
    fnr_at_fpr: dict[str, T]
    cllr: T | None
    act_dcf: dict[str, T]
    act_c_primary: dict[str, T]


@dataclass(frozen=True)
class DetectionMetrics(Figures[float]):
    """What is reported of one score list.

    Attributes:
        eer_threshold: the score t, a score of the list, at which "accept when score >= t" has the closest
            miss and false-alarm rates (the lowest such t).
        num_targets: number of target trials.
        num_nontargets: number of non-target trials.
    """

    eer_threshold: float
    num_targets: int
    num_nontargets: int


@dataclass(frozen=True)
class Decisions:
    """Outcome of taking the scores for log-likelihood ratios, for any number of draws.

    Attributes:
        num_miss: int64 [..., P], targets below the Bayes threshold of each operating point.
        num_fa: int64 [..., P], non-targets at or above it.
        cllr: float64 [...].
    """

    num_miss: Int64Array
    num_fa: Int64Array
    cllr: Float64Array


def detection(
    scores: ScoreTable | SortedScores,
    presets: Mapping[str, Preset] = DEFAULT_PRESETS,
    *,
    llr: bool = False,
    fprs: Sequence[float] = FPRS,
) -> DetectionMetrics:
    """All metrics of ``scores``.

    Args:
        scores: a table with labels, or scores that are sorted already.
        presets: operating points of the detection costs by name of evaluation.
        llr: whether the scores are log-likelihood ratios (natural log), as they are after calibration.
        fprs: false-alarm rates for the miss rates.

    Raises:
        DataError: as ``sorted_scores``.
    """
    known = sorted_scores(scores)
    curve = error_curve(known)
    found = figures(curve, decisions(known, presets) if llr else None, presets, fprs)
    values = map_figures(float, found)
    return DetectionMetrics(
        **{field.name: getattr(values, field.name) for field in fields(values)},
        eer_threshold=equal_error_threshold(known),
        num_targets=curve.num_targets,
        num_nontargets=curve.num_nontargets,
    )


def decisions(scores: SortedScores, presets: Mapping[str, Preset]) -> Decisions:
    """Errors at the Bayes threshold of each point of ``presets``, and Cllr."""
    points = points_of(presets).values()
    below = np.array([scores.num_below(point.bayes_threshold) for point in points], dtype=np.int64)
    num_miss, num_rejected = below.reshape(-1, 2).T
    return Decisions(num_miss, len(scores.nontargets) - num_rejected, np.asarray(cllr(scores)))


def figures(
    curve: ErrorCurve, decided: Decisions | None, presets: Mapping[str, Preset], fprs: Sequence[float]
) -> Figures[Float64Array]:
    """Every metric of the error curves [..., K] and decisions of any number of draws, float64 [...] each."""
    points = points_of(presets)
    p_miss, p_fa = curve.p_miss, curve.p_fa
    min_dcf = {name: point.cost(p_miss, p_fa).min(axis=-1) for name, point in points.items()}
    act_dcf = {}
    if decided is not None:
        act_miss = decided.num_miss / curve.num_miss[..., -1:]
        act_fa = decided.num_fa / curve.num_fa[..., :1]
        costs = enumerate(points.items())
        act_dcf = {name: point.cost(act_miss[..., at], act_fa[..., at]) for at, (name, point) in costs}
    return Figures(
        eer=equal_error_rate(p_miss, p_fa),
        rocch_eer=_of_each(rocch_equal_error_rate, curve),
        min_cllr=_of_each(min_cllr, curve),
        min_dcf=min_dcf,
        min_c_primary=c_primary(min_dcf, presets),
        fnr_at_fpr={f"{fpr:g}": fnr_at_fpr(p_miss, p_fa, fpr) for fpr in fprs},
        cllr=None if decided is None else decided.cllr,
        act_dcf=act_dcf,
        act_c_primary=c_primary(act_dcf, presets) if decided is not None else {},
    )


def _of_each(measure: Callable[..., float], curve: ErrorCurve) -> Float64Array:
    """``measure`` of each curve of a stack [..., K]."""
    size = curve.num_miss.shape[-1]
    rows = zip(curve.num_miss.reshape(-1, size), curve.num_fa.reshape(-1, size), strict=True)
    return np.array([measure(*row) for row in rows]).reshape(curve.num_miss.shape[:-1])


def c_primary(costs: Mapping[str, T], presets: Mapping[str, Preset]) -> dict[str, T]:
    """Mean cost over the points of each preset: C_primary of the NIST plans."""
    return {
        name: sum(costs[str(point)] for point in preset) / len(preset)  # type: ignore[misc]
        for name, preset in presets.items()
    }


def map_figures(function: Callable[..., U], *each: Figures[T]) -> Figures[U]:
    """``function`` of the values that each metric has in one or several sets of figures."""

    def of(name: str) -> U | dict[str, U] | None:
        values = [getattr(one, name) for one in each]
        if values[0] is None:
            return None
        if isinstance(values[0], dict):
            return {key: function(*(value[key] for value in values)) for key in values[0]}
        return function(*values)

    return Figures(**{field.name: of(field.name) for field in fields(Figures)})  # type: ignore[arg-type]
