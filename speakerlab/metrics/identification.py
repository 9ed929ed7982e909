"""Open-set identification, 1:N: rank-1 rate and FNIR at given FPIR (ISO/IEC 19795-1:2021).

In: scores of every probe against every model of a gallery, as a matrix or as a full ``ScoreTable``; out:
``IdentificationMetrics``. ``identification(scores, mates, fpirs=[0.01]).fnir_at_fpir["0.01"]``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speakerlab.errors import DataError
from speakerlab.metrics.error_curve import Int64Array
from speakerlab.metrics.sorted_scores import FloatArray, check_table
from speakerlab.types import Float64Array, ScoreTable

FPIRS = (0.01, 0.1)


@dataclass(frozen=True)
class IdentificationMetrics:
    """What is reported of one gallery; every figure depends on its size.

    Attributes:
        rank_1: share of mated probes whose own model scores above every other. A tie for the top is a miss.
        fnir_at_fpir: by text of the false-positive identification rate, the lowest share of mated probes
            that are not identified (own model not at the top, or below the threshold) of all thresholds that
            accept the top model of at most that share of the non-mated probes. Empty if there are none.
        gallery_size: number of models.
        num_mated: probes whose speaker is in the gallery.
        num_nonmated: probes whose speaker is not.
    """

    rank_1: float
    fnir_at_fpir: dict[str, float]
    gallery_size: int
    num_mated: int
    num_nonmated: int


def identification(
    scores: FloatArray, mates: Int64Array, *, fpirs: Sequence[float] = FPIRS, name: str = "scores"
) -> IdentificationMetrics:
    """Measure a search in which a probe is taken for the model with the highest score, if above a threshold.

    Args:
        scores: [P, G], of every probe against every model; higher means more likely the same speaker.
        mates: int [P], the column of each probe's own model, -1 for a speaker who is not in the gallery.
        fpirs: false-positive identification rates.
        name: where the scores came from, for messages.

    Raises:
        DataError: shapes that do not match, a mate that is no column, a NaN or Inf, no mated probe.
        ValueError: a rate outside [0, 1].
    """
    _check(scores, mates, name)
    is_mated = mates >= 0
    rows = np.flatnonzero(is_mated)
    own = scores[rows, mates[rows]]
    others = scores[rows].copy()
    others[np.arange(len(rows)), mates[rows]] = -np.inf
    first = own > others.max(axis=1)
    identified, top = np.sort(own[first]), np.sort(scores[~is_mated].max(axis=1))
    return IdentificationMetrics(
        rank_1=float(first.mean()),
        fnir_at_fpir={f"{fpir:g}": _fnir(identified, len(rows), top, fpir) for fpir in fpirs}
        if len(top)
        else {},
        gallery_size=scores.shape[1],
        num_mated=len(rows),
        num_nonmated=len(top),
    )


def _fnir(identified: FloatArray, num_mated: int, top: FloatArray, fpir: float) -> float:
    """FNIR from the sorted scores of the mated probes at rank 1 and the sorted top scores of the others."""
    if not 0 <= fpir <= 1:
        raise ValueError(f"{fpir} is not a false-positive identification rate")
    accepted = np.arange(len(top), -1, -1)  # with the threshold just above the first 0, 1, ... top scores
    rejected = int(np.argmax(accepted / len(top) <= fpir))
    missed = 0 if rejected == 0 else int(np.searchsorted(identified, top[rejected - 1], side="right"))
    return (num_mated - len(identified) + missed) / num_mated


def _check(scores: FloatArray, mates: Int64Array, name: str) -> None:
    if scores.ndim != 2 or not scores.size or mates.shape != scores.shape[:1]:
        raise DataError(
            name, f"scores of shape {scores.shape} with mates of shape {mates.shape}", "give [P, G] and [P]"
        )
    if mates.max() >= scores.shape[1] or mates.min() < -1:
        raise DataError(name, f"a mate is not among the {scores.shape[1]} models", "use -1 for none")
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise DataError(name, f"NaN or Inf among the scores ({bad} of {scores.size})")
    if mates.max() < 0:
        raise DataError(name, "no probe has its speaker in the gallery", "rank-1 and FNIR need mated probes")


def gallery(table: ScoreTable) -> tuple[Float64Array, Int64Array]:
    """Scores [P, G] and mates [P] of a list of every test id (probe) against every enrolment id (model).

    Raises:
        DataError: as ``check_table``, but for a list of targets alone; a probe that is not scored against
            every model; a probe with two target models.
    """
    check_table(table)
    trials = table.trials
    models = {model: column for column, model in enumerate(dict.fromkeys(trials.enroll_ids))}
    probes = {probe: row for row, probe in enumerate(dict.fromkeys(trials.test_ids))}
    if len(trials) != len(models) * len(probes):  # none is listed twice
        why = f"{len(trials)} trials of {len(probes)} probes and {len(models)} models"
        raise DataError(trials.name, why, "score every probe against every model")
    rows = np.fromiter((probes[i] for i in trials.test_ids), dtype=np.int64, count=len(trials))
    columns = np.fromiter((models[i] for i in trials.enroll_ids), dtype=np.int64, count=len(trials))
    scores = np.empty((len(probes), len(models)))
    scores[rows, columns] = table.scores
    mates = np.full(len(probes), -1, dtype=np.int64)
    is_target = trials.labels == 1
    mates[rows[is_target]] = columns[is_target]
    twice = np.flatnonzero(np.bincount(rows[is_target], minlength=len(probes)) > 1)
    if len(twice):
        why = f"probe {list(probes)[twice[0]]} has two target models ({len(twice)} such probes)"
        raise DataError(trials.name, why, "enrol one model for each speaker")
    return scores, mates
