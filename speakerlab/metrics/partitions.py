"""Error rates by condition: the partitions of a trial list, and their average with equal weight.

In: the ``SortedScores`` of each partition; out: ``EqualisedMetrics``. ``equalised([female, male]).eer``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speakerlab.metrics.error_curve import equal_error_rate
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, Preset, points_of
from speakerlab.metrics.sorted_scores import FloatArray, SortedScores
from speakerlab.types import Float64Array


@dataclass(frozen=True)
class EqualisedMetrics:
    """Metrics of a list in which every partition counts alike, however many trials it has.

    Attributes:
        eer: interpolated equal error rate in [0, 1].
        min_dcf: normalised detection cost at the best threshold, one for all partitions, by point.
        min_c_primary: mean of ``min_dcf`` over the points of a preset, by name of the preset.
        act_dcf: normalised detection cost at the Bayes threshold, by point; empty unless scores are
            log-likelihood ratios.
        act_c_primary: mean of ``act_dcf`` over the points of a preset; empty likewise.
        num_partitions: how many were averaged.
    """

    eer: float
    min_dcf: dict[str, float]
    min_c_primary: dict[str, float]
    act_dcf: dict[str, float]
    act_c_primary: dict[str, float]
    num_partitions: int


def equalised(
    partitions: Sequence[SortedScores], presets: Mapping[str, Preset] = DEFAULT_PRESETS, *, llr: bool = False
) -> EqualisedMetrics:
    """Metrics of the miss and false-alarm rates averaged over ``partitions`` at each common threshold.

    Trials of a partition weigh the inverse of their number in it, as in the equalised counts that the NIST
    evaluations since SRE16 compute C_primary from (SRE16 evaluation plan v1.3, section 3).

    Args:
        partitions: sorted scores of each, all with targets and non-targets.
        presets: operating points of the detection costs by name of evaluation.
        llr: whether the scores are log-likelihood ratios.

    Raises:
        ValueError: no partition.
    """
    if not partitions:
        raise ValueError("no partition to average")
    every = [scores for each in partitions for scores in (each.targets, each.nontargets)]
    thresholds = np.append(np.unique(np.concatenate(every)), np.inf)
    p_miss, p_fa = _rates(partitions, thresholds)
    points = points_of(presets)
    min_dcf = {name: float(point.cost(p_miss, p_fa).min()) for name, point in points.items()}
    act_dcf = {}
    if llr:
        for name, point in points.items():
            miss, false_alarm = _rates(partitions, np.array([point.bayes_threshold]))
            act_dcf[name] = float(point.cost(miss, false_alarm)[0])
    return EqualisedMetrics(
        eer=float(equal_error_rate(p_miss, p_fa)),
        min_dcf=min_dcf,
        min_c_primary=_primary(min_dcf, presets),
        act_dcf=act_dcf,
        act_c_primary=_primary(act_dcf, presets) if llr else {},
        num_partitions=len(partitions),
    )


def _rates(partitions: Sequence[SortedScores], thresholds: FloatArray) -> tuple[Float64Array, Float64Array]:
    """Miss and false-alarm rates at ``thresholds`` [K], averaged over the partitions, float64 [K] each."""
    p_miss, p_fa = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    for each in partitions:
        p_miss += np.searchsorted(each.targets, thresholds) / len(each.targets)
        p_fa += 1 - np.searchsorted(each.nontargets, thresholds) / len(each.nontargets)
    return p_miss / len(partitions), p_fa / len(partitions)


def _primary(costs: Mapping[str, float], presets: Mapping[str, Preset]) -> dict[str, float]:
    return {
        name: sum(costs[str(point)] for point in preset) / len(preset) for name, preset in presets.items()
    }
