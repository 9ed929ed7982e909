"""Calibration by pool-adjacent-violators: the monotone map from scores to likelihood ratios of least cost.

In: scores of one system on labelled trials; out: a ``PavCalibration`` for other scores of that system.
``train(Inputs.of({"campplus": dev})).llr(Inputs.of({"campplus": test}))``. It assumes nothing but that a
higher score speaks for the same speaker, and so needs more trials than logistic regression.

The posteriors are the isotonic regression of the labels (Brummer and du Preez, "Application-independent
evaluation of speaker detection", 2006). The ends are bounded: a target and a non-target at -inf and another
two at +inf join the training trials, Laplace's rule of succession as in BOSARIS's ``opt_loglr``. Without them
the LLR of every score below the lowest target is -inf, and one target there costs infinitely much.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from speakerlab.backend.calibration import Provenance
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.errors import DataError
from speakerlab.types import ScoreTable


@dataclass(frozen=True)
class PavCalibration:
    """A rising map, linear between K points and level beyond them.

    Attributes:
        systems: the name of the one system.
        measures: none.
        scores: K scores, rising: the lowest and the highest of each block of training scores.
        llrs: their K log-likelihood ratios, never falling, natural log.
        provenance: the training trials.
    """

    systems: tuple[str, ...]
    measures: tuple[str, ...]
    scores: tuple[float, ...]
    llrs: tuple[float, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.scores, *self.llrs))) or not self.scores:
            raise ValueError("scores and llrs must be finite numbers")
        if any(a >= b for a, b in itertools.pairwise(self.scores)) or len(self.scores) != len(self.llrs):
            raise ValueError("scores must rise, with one llr for each")
        if any(a > b for a, b in itertools.pairwise(self.llrs)):
            raise ValueError("llrs must not fall")
        if len(self.systems) != 1 or self.measures:
            raise ValueError("needs one system and no quality measure")

    def llr(self, inputs: Inputs, name: str = "calibration") -> ScoreTable:
        """Log-likelihood ratios of the trials of ``inputs``, natural log.

        Raises:
            DataError: another system than in training; ``name`` is the calibration's.
        """
        matrix = inputs.arranged(self.systems, self.measures, name)
        return ScoreTable(inputs.trials, np.interp(matrix[:, 0], self.scores, self.llrs))


def train(inputs: Inputs) -> PavCalibration:
    """The monotone map of least cost on labelled trials, whatever the prior; equal scores move together.

    Raises:
        DataError: a trial without label, no target or no non-target trial, several systems, quality measures.
    """
    is_target = inputs.is_target()
    if inputs.matrix.shape[1] != 1:
        fix = "fuse by logistic regression"
        raise DataError(inputs.trials.name, "PAV calibrates one system without quality measures", fix)
    scores, groups = np.unique(inputs.matrix[:, 0], return_inverse=True)
    num_trials = np.bincount(groups).astype(np.float64)
    num_targets = np.bincount(groups, weights=is_target)
    num_trials, num_targets = (
        np.concatenate(([extra], counts, [extra]))
        for extra, counts in ((2.0, num_trials), (1.0, num_targets))
    )
    posteriors = isotonic_regression(num_targets / num_trials, weights=num_trials).x[1:-1]
    provenance = Provenance.of(inputs)
    prior_odds = math.log(provenance.num_targets / provenance.num_nontargets)
    llrs = np.log(posteriors) - np.log1p(-posteriors) - prior_odds
    changes = np.flatnonzero(np.diff(posteriors))
    ends = np.unique(np.concatenate(([0], changes, changes + 1, [len(scores) - 1])))
    return PavCalibration(
        systems=inputs.systems,
        measures=(),
        scores=tuple(scores[ends].tolist()),
        llrs=tuple(llrs[ends].tolist()),
        provenance=provenance,
    )
