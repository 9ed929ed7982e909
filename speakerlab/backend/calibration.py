"""Calibration and fusion by prior-weighted logistic regression: scores in, log-likelihood ratios out.

In: ``Inputs`` of labelled trials; out: a ``LogisticCalibration`` for other trials of the same systems.
``calibration = train(Inputs.of({"campplus": dev})); calibration.llr(Inputs.of({"campplus": test}))``.

LLR = offset + sum of weight * (input - mean) / std, natural log, over systems and quality measures. Weights
and offset minimise the cost of Brummer's logistic regression (FoCal, 2005; Brummer and de Villiers, "The
BOSARIS Toolkit", 2011) at an effective prior p:

    p / N_tar * sum over targets log(1 + exp(-LLR - logit p))
    + (1 - p) / N_non * sum over non-targets log(1 + exp(LLR + logit p)),

here over the entropy of p, which is the cost of a system that knows nothing: at p = 0.5 it is Cllr in bits.
To it comes ``RIDGE`` / 2 times the squared standardised weights. Where targets and non-targets do not overlap
it alone keeps them finite; where they do it is nothing: 1e-5 of a weight at an EER of 0.003 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import entr, expit, logit

from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.errors import DataError
from speakerlab.types import Float64Array, ScoreTable

DEFAULT_PRIOR = 0.5
RIDGE = 1e-12
GRADIENT_TOLERANCE = 1e-7  # of the search within a trust region; rounding can stop it below
NEWTON_STEPS = 100  # at most, from there: one to three where trials overlap, a dozen where they do not
SPREADS = 1e-100, 1e100  # standard deviations whose squares and inverses are numbers


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a calibration was trained on: the name of the trial list and its numbers of trials."""

    trials: str
    num_targets: int
    num_nontargets: int

    @classmethod
    def of(cls, inputs: Inputs) -> Provenance:
        """That of labelled ``inputs``."""
        num_targets = int(inputs.is_target().sum())
        return cls(inputs.trials.name, num_targets, len(inputs.trials) - num_targets)


@dataclass(frozen=True)
class LogisticCalibration:
    """An affine map from systems and quality measures to a log-likelihood ratio.

    Attributes:
        systems: names of the S systems.
        measures: names of the Q quality measures.
        means: S + Q means of the training trials, systems first.
        stds: their standard deviations, positive.
        weights: of the standardised inputs; comparable with each other.
        offset: the LLR where every input is at its mean.
        prior: effective prior in training.
        cost: on the training trials, over that of a system that knows nothing; Cllr where prior is 0.5.
        is_separated: every target of the training trials is above every non-target: scales are limited by
            ``RIDGE`` alone then, and LLRs are not to be trusted.
        provenance: the training trials.
    """

    systems: tuple[str, ...]
    measures: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float
    prior: float
    cost: float
    is_separated: bool
    provenance: Provenance

    def __post_init__(self) -> None:
        sizes = {len(self.means), len(self.stds), len(self.weights), len(self.systems) + len(self.measures)}
        numbers = (*self.means, *self.stds, *self.weights, self.offset)
        if len(sizes) != 1 or not all(map(math.isfinite, numbers)) or min(self.stds, default=0) <= 0:
            raise ValueError("means, stds and weights must be finite, stds positive, one for each input")
        if not 0 < self.prior < 1:
            raise ValueError(f"prior {self.prior} is not within (0, 1)")

    def llr(self, inputs: Inputs, name: str = "calibration") -> ScoreTable:
        """Log-likelihood ratios of the trials of ``inputs``, natural log.

        Raises:
            DataError: other systems or quality measures than in training; ``name`` is the calibration's.
        """
        matrix = inputs.arranged(self.systems, self.measures, name)
        return ScoreTable(inputs.trials, self.offset + ((matrix - self.means) / self.stds) @ self.weights)

    def raw_scales(self) -> tuple[tuple[float, ...], float]:
        """The same map on inputs as they are: a scale for each, and the offset."""
        scales = tuple(weight / std for weight, std in zip(self.weights, self.stds, strict=True))
        shifts = (scale * mean for scale, mean in zip(scales, self.means, strict=True))
        return scales, self.offset - math.fsum(shifts)


class Objective:
    """The cost of parameters and its derivatives.

    Args:
        columns: float64 [N, K], standardised inputs.
        is_target: bool [N], with trials of both kinds.
        prior: effective prior of a target.
    """

    def __init__(self, columns: Float64Array, is_target: npt.NDArray[np.bool_], prior: float) -> None:
        self._design = np.column_stack([columns, np.ones(len(columns))])
        self._signs = np.where(is_target, -1.0, 1.0)
        self._prior_odds = float(logit(prior))
        num_targets = int(is_target.sum())
        shares = prior / num_targets, (1 - prior) / (len(is_target) - num_targets)
        self._shares = np.where(is_target, *shares) / (entr(prior) + entr(1 - prior))
        self._ridge = np.append(np.full(columns.shape[1], RIDGE), 0.0)  # the offset is free

    def cost(self, parameters: Float64Array) -> float:
        """Cost of the weights and the offset, [K + 1], without the ridge."""
        return float(self._shares @ np.logaddexp(0.0, self._errors(parameters)))

    def value_and_gradient(self, parameters: Float64Array) -> tuple[float, Float64Array]:
        """What is minimised, ridge included, and its gradient [K + 1]."""
        errors = self._errors(parameters)
        slopes = self._shares * self._signs * expit(errors)
        value = float(self._shares @ np.logaddexp(0.0, errors) + 0.5 * self._ridge @ parameters**2)
        return value, slopes @ self._design + self._ridge * parameters

    def hessian(self, parameters: Float64Array) -> Float64Array:
        """Second derivatives, [K + 1, K + 1]."""
        errors = self._errors(parameters)
        curvatures = self._shares * expit(errors) * expit(-errors)
        curved: Float64Array = (self._design.T * curvatures) @ self._design
        return curved + np.diag(self._ridge)

    def _errors(self, parameters: Float64Array) -> Float64Array:
        """Posterior log-odds of the wrong answer, [N]."""
        return self._signs * (self._design @ parameters + self._prior_odds)


def train(inputs: Inputs, prior: float = DEFAULT_PRIOR) -> LogisticCalibration:
    """The best affine map on labelled trials; the order of trials does not matter, to the last bit.

    Args:
        inputs: labelled trials.
        prior: effective prior of a target: for an operating point, expit of its ``log_odds``.

    Raises:
        DataError: a trial without label, no target or no non-target trial, an input that never changes.
        ValueError: ``prior`` is not within (0, 1).
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior {prior} is not within (0, 1)")
    is_target = inputs.is_target()
    order = np.lexsort((*inputs.matrix.T, is_target))  # sums depend on the order of what is added
    columns, is_target = inputs.matrix[order], is_target[order]
    means, stds = _moments(inputs, columns)
    columns = (columns - means) / stds
    objective = Objective(columns, is_target, prior)
    parameters = _minimise(objective, columns.shape[1] + 1)
    llrs = columns @ parameters[:-1]
    return LogisticCalibration(
        systems=inputs.systems,
        measures=inputs.measures,
        means=tuple(means.tolist()),
        stds=tuple(stds.tolist()),
        weights=tuple(parameters[:-1].tolist()),
        offset=float(parameters[-1]),
        prior=prior,
        cost=objective.cost(parameters),
        is_separated=bool(llrs[is_target].min() > llrs[~is_target].max()),
        provenance=Provenance.of(inputs),
    )


def _moments(inputs: Inputs, columns: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation of each column."""
    with np.errstate(over="ignore", invalid="ignore"):
        means, stds = columns.mean(axis=0), columns.std(axis=0)
    names = (*inputs.systems, *inputs.measures)
    for name, column, mean, std in zip(names, columns.T, means, stds, strict=True):
        if column.min() == column.max():
            why = f"'{name}' is {column[0]:g} for every trial"
            raise DataError(inputs.trials.name, why, "leave it out")
        if not max(SPREADS[0], 1e-12 * abs(mean)) < std < SPREADS[1]:
            why = f"'{name}' has the mean {mean:g} and the standard deviation {std:g}"
            raise DataError(inputs.trials.name, why, "scale and shift it to ordinary numbers")
    return means, stds


def _minimise(objective: Objective, size: int) -> Float64Array:
    """The minimum of a strictly convex function, by Newton's method, at first within a trust region."""
    start = np.zeros(size)
    found = minimize(
        objective.value_and_gradient,
        start,
        jac=True,
        hess=objective.hessian,
        method="trust-exact",
        options={"gtol": GRADIENT_TOLERANCE, "maxiter": 1000},
    )
    parameters: Float64Array = found.x
    for _ in range(NEWTON_STEPS):
        value, gradient = objective.value_and_gradient(parameters)
        step = np.linalg.solve(objective.hessian(parameters), gradient)
        parameters = parameters - step
        if gradient @ step <= 1e-12 * value:  # what the step gained; the next would gain its square
            break
    return parameters
