"""Quality of scores as log-likelihood ratios: Cllr, minimum Cllr and the normalised Bayes error curve.

In: scores in natural-log units, or an error curve for the minima, which any monotone map leaves as they are;
out: numbers and arrays. ``cllr(scores) - min_cllr(curve.num_miss, curve.num_fa)`` is the calibration loss.
Sources: Brummer and du Preez, "Application-independent evaluation of speaker detection", 2006; Brummer and
de Villiers, "The BOSARIS toolkit", 2011 (PAV, convex hull, Bayes error rates).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit

from speakerlab.metrics.error_curve import Int64Array, error_curve
from speakerlab.metrics.sorted_scores import FloatArray, SortedScores, sorted_scores
from speakerlab.types import Float64Array, ScoreTable

BLOCK_SCORES = 2**20
LOG_ODDS = np.linspace(-10.0, 10.0, 401)
LOG_ODDS.setflags(write=False)


@dataclass(frozen=True)
class BayesErrorCurve:
    """Error rates of Bayes decisions over those of the better system that ignores the speech, by prior.

    Attributes:
        log_odds: float64 [G], logit of the prior of a target, rising.
        actual: float64 [G], normalised error with the scores taken for log-likelihood ratios; above 1 where
            it would be better to ignore them.
        minimum: float64 [G], normalised error at the best threshold, at most 1.
    """

    log_odds: Float64Array
    actual: Float64Array
    minimum: Float64Array

    @property
    def default_error(self) -> Float64Array:
        """Error rate of the system that ignores the speech, float64 [G]; times ``actual``: an APE plot."""
        errors: Float64Array = expit(-np.abs(self.log_odds))
        return errors


def cllr(scores: ScoreTable | SortedScores) -> float:
    """Cost of log-likelihood ratios in bits: 0 is perfect, 1 is a system that always says 0.

    Raises:
        DataError: as ``sorted_scores``.
    """
    known = sorted_scores(scores)
    return (_mean_cost(known.targets, -1.0) + _mean_cost(known.nontargets, 1.0)) / 2


def llr_cost(scores: FloatArray, sign: float) -> Float64Array:
    """Bits that each trial costs: log2(1 + exp(sign * score)), ``sign`` -1 for targets, 1 for non-targets."""
    bits: Float64Array = np.logaddexp(0.0, sign * scores.astype(np.float64)) / np.log(2.0)
    return bits


def _mean_cost(scores: FloatArray, sign: float) -> float:
    blocks = (scores[at : at + BLOCK_SCORES] for at in range(0, len(scores), BLOCK_SCORES))
    return float(sum(llr_cost(block, sign).sum() for block in blocks) / len(scores))


def min_cllr(num_miss: Int64Array, num_fa: Int64Array) -> float:
    """Cllr after the best monotone calibration: that of pool-adjacent-violators (isotonic regression).

    Groups of one kind of trial have an infinite ratio and cost nothing.

    Args:
        num_miss: int64 [K], see ``ErrorCurve``.
        num_fa: int64 [K].
    """
    miss, fa = _convex_hull(num_miss, num_fa)
    targets, nontargets = np.diff(miss).astype(np.float64), -np.diff(fa).astype(np.float64)
    mixed = (targets > 0) & (nontargets > 0)
    targets, nontargets = targets[mixed] / num_miss[-1], nontargets[mixed] / num_fa[0]
    costs = targets @ np.log1p(nontargets / targets) + nontargets @ np.log1p(targets / nontargets)
    return float(costs / (2 * np.log(2.0)))


def _convex_hull(num_miss: Int64Array, num_fa: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Vertices of the lower convex hull of one error curve: where the blocks of its PAV solution meet."""
    targets, trials = np.diff(num_miss), np.diff(num_miss - num_fa)
    groups = np.flatnonzero(trials)  # a draw of the bootstrap can leave a group without trials
    targets, trials = targets[groups], trials[groups]
    blocks = isotonic_regression(targets / trials, weights=trials).blocks
    vertices = np.append(groups[blocks[:-1]], len(num_miss) - 1)
    return num_miss[vertices], num_fa[vertices]


def bayes_error_curve(
    scores: ScoreTable | SortedScores, log_odds: Float64Array = LOG_ODDS
) -> BayesErrorCurve:
    """Actual and minimum normalised Bayes error over a grid of priors.

    Args:
        scores: log-likelihood ratios.
        log_odds: float64 [G], logits of the priors.

    Raises:
        DataError: as ``sorted_scores``.
    """
    known = sorted_scores(scores)
    curve = error_curve(known)
    below = np.array([known.num_below(-odds) for odds in log_odds])
    p_miss, p_fa = below[:, 0] / len(known.targets), 1 - below[:, 1] / len(known.nontargets)
    hull_miss, hull_fa = _convex_hull(curve.num_miss, curve.num_fa)
    weights = expit(log_odds), expit(-log_odds)
    best = weights[0][:, None] * (hull_miss / curve.num_targets)
    best += weights[1][:, None] * (hull_fa / curve.num_nontargets)
    default = np.minimum(*weights)
    actual = (weights[0] * p_miss + weights[1] * p_fa) / default
    return BayesErrorCurve(log_odds, actual, best.min(axis=1) / default)
