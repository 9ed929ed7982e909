"""Quality measures of trials: numbers of their two sides, such as durations, as inputs of a calibration.

In: a number for each id (durations, ``magnitudes``, ``cohort_means``); out: one for each trial.
``quality.measure(durations, trials, "min-log", "utt2dur")``. Thienpondt, Desplanques and Demuynck, "The IDLab
VoxSRC-20 submission: large margin fine-tuning and quality-aware score calibration in DNN based speaker
verification", ICASSP 2021 (arXiv 2010.11255): the smaller and the greater of the two sides.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speakerlab.backend.score_norm import CohortStatistics
from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, Float64Array, TrialList

# rule -> (what it takes of the two sides, whether of their logarithms)
RULES = {
    "min": (np.minimum, False),
    "max": (np.maximum, False),
    "min-log": (np.minimum, True),
    "max-log": (np.maximum, True),
}


def magnitudes(table: EmbeddingTable) -> dict[str, float]:
    """Length of each embedding as extracted."""
    lengths = np.linalg.norm(table.matrix.astype(np.float64), axis=1)
    return dict(zip(table.ids, lengths.tolist(), strict=True))


def cohort_means(statistics: CohortStatistics) -> dict[str, float]:
    """Mean score of each id against the cohort (the highest, for as-norm): how much it is like others."""
    sides = (side for side in (statistics.enroll, statistics.test) if side is not None)
    return {key: mean for side in sides for key, mean in zip(side.ids, side.mean.tolist(), strict=True)}


def measure(values: Mapping[str, float], trials: TrialList, rule: str, name: str) -> Float64Array:
    """The quality of each trial, float64 [N].

    Both sides count alike: swapping the two recordings of a trial changes nothing.

    Args:
        values: number of each enrolment and test id; models of several utterances need a number too.
        trials: N trials.
        rule: a key of ``RULES``; ``*-log`` takes natural logarithms first.
        name: where ``values`` come from, for messages.

    Raises:
        DataError: an id of the trials has no value, or one that is not finite, or has no logarithm.
    """
    combine, log = RULES[rule]
    ids = dict.fromkeys((*trials.enroll_ids, *trials.test_ids))
    missing = [key for key in ids if key not in values]
    if missing:
        why = f"no value for {missing[0]} ({len(missing)} such ids of {trials.name})"
        raise DataError(name, why, "write a line for every enrolment and test id")
    used = {key: float(values[key]) for key in ids}
    for key, value in used.items():
        if not np.isfinite(value) or (log and value <= 0):
            wanted = "a positive" if log else "a finite"
            raise DataError(name, f"{key} has {value:g}; {rule} needs {wanted} number")
    enroll, test = (
        np.fromiter(map(used.__getitem__, side), np.float64, len(trials))
        for side in (trials.enroll_ids, trials.test_ids)
    )
    combined: Float64Array = combine(enroll, test)
    return np.log(combined) if log else combined
