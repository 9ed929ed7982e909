"""Systems measured on trial lists: metrics, intervals, comparisons and the hardest trials.

In: ``Scored`` lists; out: ``Row`` and ``Comparison`` for tables and pages.
``rows = [measure(scored, Settings())]``; ``compare(rows, Settings())``; ``hardest(scored.table)``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speakerlab.metrics.bootstrap import (
    BootstrapIntervals,
    DetBand,
    PairedDifferences,
    det_band,
    paired_bootstrap,
    speaker_bootstrap,
)
from speakerlab.metrics.det_plot import BAND_P_FA
from speakerlab.metrics.detection import DetectionMetrics, detection
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, Preset
from speakerlab.types import ScoreTable, TrialList

BOOTSTRAP_SEED = 0  # the same speakers are drawn for every system of a list


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        presets: operating points by name of evaluation.
        num_draws: of the bootstrap.
        with_band: whether to find the intervals of the DET curves too, for plots.
    """

    presets: Mapping[str, Preset] = field(default_factory=lambda: DEFAULT_PRESETS)
    num_draws: int = 1000
    with_band: bool = False


@dataclass(frozen=True)
class Scored:
    """Scores of one system on one trial list.

    Attributes:
        system: its name.
        title: name of the list in tables.
        trials: the list.
        scores: the score file.
        table: both, read.
        llr: whether the scores are log-likelihood ratios.
        utt2spk: speaker of every id of the list; empty where not known.
    """

    system: str
    title: str
    trials: Path
    scores: Path
    table: ScoreTable
    llr: bool
    utt2spk: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """What was measured; ``intervals`` and ``band`` are None where the speakers are not known."""

    scored: Scored
    metrics: DetectionMetrics
    intervals: BootstrapIntervals | None
    band: DetBand | None


@dataclass(frozen=True)
class Comparison:
    """Metrics of system A minus those of system B on the same trials."""

    a: Row
    b: Row
    differences: PairedDifferences


@dataclass(frozen=True)
class HardTrial:
    """One error that a threshold can hardly avoid."""

    enroll_id: str
    test_id: str
    score: float


@dataclass(frozen=True)
class HardTrials:
    """Targets with the lowest and non-targets with the highest scores, hardest first."""

    targets: list[HardTrial]
    nontargets: list[HardTrial]


def measure(scored: Scored, settings: Settings) -> Row:
    """Metrics of ``scored`` and, where the speakers are known, their intervals.

    Raises:
        DataError: as ``detection`` and ``speaker_bootstrap``.
    """
    metrics = detection(scored.table, settings.presets, llr=scored.llr)
    intervals = intervals_of(scored.table, scored.utt2spk, settings, llr=scored.llr)
    if intervals and intervals.num_skipped:
        logging.warning(
            "%s: %d of %d draws of speakers lack targets or non-targets and are left out",
            scored.trials,
            intervals.num_skipped,
            settings.num_draws,
        )
    band = None
    if intervals and settings.with_band:
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        band = det_band(scored.table, scored.utt2spk, rng, BAND_P_FA, settings.num_draws)
    return Row(scored, metrics, intervals, band)


def intervals_of(
    table: ScoreTable, utt2spk: Mapping[str, str], settings: Settings, *, llr: bool
) -> BootstrapIntervals | None:
    """Intervals of the metrics of ``table``; None where no speaker is known.

    Raises:
        DataError: as ``speaker_bootstrap``.
    """
    if not utt2spk:
        return None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return speaker_bootstrap(table, utt2spk, rng, settings.presets, llr=llr, num_draws=settings.num_draws)


def compare(rows: Sequence[Row], settings: Settings) -> list[Comparison]:
    """Each system against the first one on the same list, for lists whose speakers are known."""
    found: list[Comparison] = []
    first: dict[Path, Row] = {}
    for row in rows:
        base = first.setdefault(row.scored.trials, row)
        if base is row or not row.scored.utt2spk:
            continue
        differences = paired_bootstrap(
            row.scored.table,
            base.scored.table,
            row.scored.utt2spk,
            np.random.default_rng(BOOTSTRAP_SEED),
            settings.presets,
            llr=row.scored.llr and base.scored.llr,
            num_draws=settings.num_draws,
        )
        found.append(Comparison(row, base, differences))
    return found


def hardest(table: ScoreTable, num: int = 10) -> HardTrials:
    """The ``num`` targets with the lowest scores and non-targets with the highest; ties in list order."""
    order = np.argsort(table.scores, kind="stable")
    is_target = table.trials.labels[order] == 1
    falling = np.argsort(-table.scores, kind="stable")
    nontargets = falling[table.trials.labels[falling] == 0]
    return HardTrials(
        [_trial(table.trials, table, row) for row in order[is_target][:num]],
        [_trial(table.trials, table, row) for row in nontargets[:num]],
    )


def _trial(trials: TrialList, table: ScoreTable, row: int) -> HardTrial:
    return HardTrial(trials.enroll_ids[row], trials.test_ids[row], float(table.scores[row]))
