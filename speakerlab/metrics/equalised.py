"""Error rates in which every partition of a trial list counts alike, as in NIST SRE16 and later plans.

In: a ``ScoreTable`` and the partition of each trial; out: ``EqualisedMetrics``, comparable with C_primary of
the plans. ``equalised_detection(scores, partitions, {"sre16": PRESETS["sre16"]}, llr=True).act_c_primary``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speakerlab.errors import DataError
from speakerlab.metrics.detection import c_primary
from speakerlab.metrics.error_curve import equal_error_rate
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, Preset, points_of
from speakerlab.metrics.sorted_scores import check_table
from speakerlab.types import Float64Array, ScoreTable


@dataclass(frozen=True)
class EqualisedMetrics:
    """Metrics of the mean error rates over partitions; the attributes are those of ``Figures``."""

    eer: float
    min_dcf: dict[str, float]
    min_c_primary: dict[str, float]
    act_dcf: dict[str, float]
    act_c_primary: dict[str, float]


def equalised_detection(
    table: ScoreTable,
    partitions: Sequence[str],
    presets: Mapping[str, Preset] = DEFAULT_PRESETS,
    *,
    llr: bool = False,
) -> EqualisedMetrics:
    """Metrics of miss and false-alarm rates that are means over the partitions with such trials.

    One threshold serves all partitions. It is the same as weighting the trials so that every partition holds
    as many (NIST SRE16 plan v1.3, section 3).

    Args:
        table: scored trials with labels.
        partitions: for each trial the name of its partition, such as ``female-cmn-1seg``.
        presets: operating points of the detection costs by name of evaluation.
        llr: whether the scores are log-likelihood ratios; otherwise there are no actual costs.

    Raises:
        DataError: as ``check_table``; not one partition per trial.
    """
    check_table(table)
    if len(partitions) != len(table.trials):
        why = f"{len(table.trials)} trials but {len(partitions)} partitions"
        raise DataError(table.trials.name, why, "name the partition of each trial")
    points = points_of(presets)
    thresholds = np.append(np.unique(table.scores), np.inf)
    p_miss, p_fa = _mean_rates(table, partitions, thresholds)
    min_dcf = {name: float(point.cost(p_miss, p_fa).min()) for name, point in points.items()}
    act_dcf = {}
    if llr:
        bayes = np.array([point.bayes_threshold for point in points.values()])
        rates = zip(*_mean_rates(table, partitions, bayes), strict=True)
        act_dcf = {
            name: float(point.cost(miss, fa))
            for (name, point), (miss, fa) in zip(points.items(), rates, strict=True)
        }
    return EqualisedMetrics(
        eer=float(equal_error_rate(p_miss, p_fa)),
        min_dcf=min_dcf,
        min_c_primary=c_primary(min_dcf, presets),
        act_dcf=act_dcf,
        act_c_primary=c_primary(act_dcf, presets) if llr else {},
    )


def _mean_rates(
    table: ScoreTable, partitions: Sequence[str], thresholds: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Miss and false-alarm rates at ``thresholds`` [K], each the mean over partitions."""
    partition_of = np.unique(np.asarray(partitions), return_inverse=True)[1]
    below = []
    for label in (1, 0):
        is_kind = table.trials.labels == label
        scores, of_kind = table.scores[is_kind], partition_of[is_kind]
        parts = [np.sort(scores[of_kind == partition]) for partition in np.unique(of_kind)]
        rates = [np.searchsorted(part, thresholds) / len(part) for part in parts]
        below.append(np.mean(rates, axis=0))
    return below[0], 1.0 - below[1]
