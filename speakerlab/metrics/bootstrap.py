"""Confidence intervals by a joint bootstrap over speakers: trials of one speaker are not independent.

In: a ``ScoreTable``, the speaker of every enrolment and test id, a seeded Generator; out: 95 % intervals of
every metric, of the difference of two systems, and of a whole DET curve.
``speaker_bootstrap(scores, utt2spk, np.random.default_rng(0)).eer.low``

The intervals are right where speakers differ, and too wide (up to 1.7 times) where all variation is between
single trials: Owen, "The pigeonhole bootstrap", 2007.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from speakerlab.errors import DataError
from speakerlab.metrics.detection import FPRS, Figures, figures, map_figures
from speakerlab.metrics.error_curve import Int64Array
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, Preset
from speakerlab.metrics.resampling import Resampler, check_same_trials
from speakerlab.types import Float64Array, ScoreTable

PERCENTILES = (2.5, 97.5)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the bootstrap draws."""

    low: float
    high: float


@dataclass(frozen=True)
class BootstrapIntervals(Figures[Interval]):
    """Intervals of the metrics of one score list.

    Attributes:
        num_speakers: speakers drawn from.
        num_draws: draws the intervals rest on.
        num_skipped: draws left out because they held no target or no non-target trial.
    """

    num_speakers: int
    num_draws: int
    num_skipped: int


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more a metric is for system A than for system B on the same trials.

    Attributes:
        low: lower end of the middle 95 % of the differences within each draw.
        high: upper end.
        p_value: two-sided: twice the smaller share of draws on either side of 0, at most 1, with the list
            itself counted as a draw (Davison and Hinkley, "Bootstrap methods and their application", 1997,
            chapter 4). Below 0.05 where 0 lies outside of [``low``, ``high``], up to one draw.
    """

    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class PairedDifferences(Figures[Difference]):
    """Differences A - B of every metric; the attributes are those of ``BootstrapIntervals``."""

    num_speakers: int
    num_draws: int
    num_skipped: int


@dataclass(frozen=True)
class DetBand:
    """Pointwise 95 % interval of the miss rate along a DET curve.

    Attributes:
        p_fa: float64 [G], false-alarm rates, rising.
        low: float64 [G], miss rates.
        high: float64 [G].
    """

    p_fa: Float64Array
    low: Float64Array
    high: Float64Array


def speaker_bootstrap(
    table: ScoreTable,
    utt2spk: Mapping[str, str],
    rng: np.random.Generator,
    presets: Mapping[str, Preset] = DEFAULT_PRESETS,
    *,
    llr: bool = False,
    fprs: Sequence[float] = FPRS,
    num_draws: int = 1000,
) -> BootstrapIntervals:
    """Percentile intervals from ``num_draws`` samples of the speakers with replacement.

    A speaker drawn m_a times counts m_a times: a trial within speaker a weighs m_a, a trial between a and b
    weighs m_a * m_b, as if the trials were repeated. The metrics are computed with those weights.

    Args:
        table: scored trials with labels.
        utt2spk: speaker of every enrolment and test id.
        rng: the only source of randomness; the result does not depend on the order of trials.
        presets: operating points of the detection costs by name of evaluation.
        llr: whether the scores are log-likelihood ratios, see ``detection``.
        fprs: false-alarm rates for the miss rates.
        num_draws: number of samples.

    Raises:
        DataError: as ``sorted_scores``; an id without speaker; a label that contradicts the speakers; no draw
            with both kinds of trials.
    """
    resampler = Resampler.of(table, utt2spk, presets if llr else None)
    times = resampler.draw(rng, num_draws)
    drawn = _drawn(resampler, times, presets, fprs)
    return BootstrapIntervals(**_contents(map_figures(_interval, drawn), resampler, drawn, num_draws))


def paired_bootstrap(
    table_a: ScoreTable,
    table_b: ScoreTable,
    utt2spk: Mapping[str, str],
    rng: np.random.Generator,
    presets: Mapping[str, Preset] = DEFAULT_PRESETS,
    *,
    llr: bool = False,
    fprs: Sequence[float] = FPRS,
    num_draws: int = 1000,
) -> PairedDifferences:
    """Differences of two systems on the same trials, from the same draws of speakers for both.

    Args:
        table_a: the scores of system A.
        table_b: the scores of system B for the same trials in the same order.
        utt2spk: as for ``speaker_bootstrap``, and so the arguments that follow.
        rng: the only source of randomness.
        presets: operating points of the detection costs by name of evaluation.
        llr: whether the scores of both are log-likelihood ratios.
        fprs: false-alarm rates for the miss rates.
        num_draws: number of samples.

    Raises:
        DataError: as ``speaker_bootstrap``; the tables are of different trials.
    """
    check_same_trials(table_a, table_b)
    kept = presets if llr else None
    resamplers = [Resampler.of(table, utt2spk, kept) for table in (table_a, table_b)]
    times = resamplers[0].draw(rng, num_draws)
    drawn_a, drawn_b = (_drawn(resampler, times, presets, fprs) for resampler in resamplers)
    differences = map_figures(lambda a, b: _difference(a - b), drawn_a, drawn_b)
    return PairedDifferences(**_contents(differences, resamplers[0], drawn_a, num_draws))


def det_band(
    table: ScoreTable,
    utt2spk: Mapping[str, str],
    rng: np.random.Generator,
    p_fa: Float64Array,
    num_draws: int = 1000,
) -> DetBand:
    """Pointwise interval of the miss rate at each of some false-alarm rates, over samples of the speakers.

    Args:
        table: scored trials with labels.
        utt2spk: speaker of every enrolment and test id.
        rng: the only source of randomness.
        p_fa: float64 [G], false-alarm rates, rising. Between its points a curve is straight; where it drops
            upright, its lower end counts.
        num_draws: number of samples.

    Raises:
        DataError: as ``speaker_bootstrap``.
    """
    resampler = Resampler.of(table, utt2spk)
    p_miss = [
        np.interp(p_fa, fa[::-1], miss[::-1])
        for batch in resampler.batches(resampler.draw(rng, num_draws))
        for fa, miss in zip(batch.curve.p_fa, batch.curve.p_miss, strict=True)
    ]
    if not p_miss:
        raise _no_draw(resampler, num_draws)
    low, high = np.percentile(np.array(p_miss), PERCENTILES, axis=0)
    return DetBand(p_fa, low, high)


def _drawn(
    resampler: Resampler, times: Int64Array, presets: Mapping[str, Preset], fprs: Sequence[float]
) -> Figures[Float64Array]:
    """The metrics of every usable draw, float64 [num_draws - skipped] each."""
    batches = [figures(b.curve, b.decided, presets, fprs) for b in resampler.batches(times)]
    if not batches:
        raise _no_draw(resampler, len(times))
    return map_figures(lambda *values: np.concatenate(values), *batches)


def _no_draw(resampler: Resampler, num_draws: int) -> DataError:
    why = f"none of {num_draws} draws of {resampler.num_speakers} speakers has both kinds"
    return DataError(resampler.name, why, "the list needs trials of more speakers")


def _contents(
    found: Figures[T], resampler: Resampler, drawn: Figures[Float64Array], num_draws: int
) -> dict[str, Any]:
    """Fields of a result: what was found, and what it rests on."""
    used = len(drawn.eer)
    counts = {
        "num_speakers": resampler.num_speakers,
        "num_draws": used,
        "num_skipped": num_draws - used,
    }
    return {**{field.name: getattr(found, field.name) for field in fields(Figures)}, **counts}


def _interval(values: Float64Array) -> Interval:
    low, high = np.percentile(values, PERCENTILES)
    return Interval(float(low), float(high))


def _difference(values: Float64Array) -> Difference:
    low, high = np.percentile(values, PERCENTILES)
    rarer = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return Difference(float(low), float(high), min(1.0, 2 * (1 + rarer) / (1 + len(values))))
