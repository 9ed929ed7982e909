"""Maximum-likelihood estimation of PLDA by EM: two covariances, Kaldi's variant of it, and low rank.

In: ``SpeakerStatistics``; out: ``Estimate``.
``plda = two_covariance(speaker_statistics(matrix, spk_ids)).plda``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from speakerlab.backend.plda import Plda, diagonalise, from_covariances
from speakerlab.backend.statistics import NAME, SpeakerStatistics
from speakerlab.errors import DataError
from speakerlab.logs import progress
from speakerlab.types import Float64Array

MAX_ITERS = 500
TOLERANCE = 1e-6  # nats per utterance; a further iteration that gains less is not worth it
KALDI_ITERS = 10  # of ivector-compute-plda


@dataclass(frozen=True, eq=False)
class Estimate:
    """A model and how it came about.

    Attributes:
        plda: the model.
        log_likelihoods: of the training data, nats in all, before each iteration and after the last.
    """

    plda: Plda
    log_likelihoods: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Model:
    mean: Float64Array
    within: Float64Array
    between: Float64Array


def two_covariance(statistics: SpeakerStatistics) -> Estimate:
    """The two-covariance model of Brummer & de Villiers, "The speaker partitioning problem", Odyssey 2010.

    Simplified PLDA with a speaker subspace of all D dimensions is the same model, and its EM is the faster.
    Directions in which the speakers' means do not differ, as with fewer speakers than dimensions, get psi 0.

    Raises:
        DataError: one speaker, or too few utterances for a within-speaker covariance.
    """
    return _converged(statistics, statistics.dim, "two-covariance")


def simplified(statistics: SpeakerStatistics, rank: int) -> Estimate:
    """Simplified PLDA: x = mean + F h + e, h ~ N(0, I) of size ``rank``, e of full covariance.

    Prince & Elder, ICCV 2007, without channel factors as in Kenny, "Bayesian speaker verification with
    heavy-tailed priors", Odyssey 2010.

    Raises:
        DataError: ``rank`` not in 1..min(D, number of speakers - 1); what ``two_covariance`` raises.
    """
    statistics.check_within()
    most = min(statistics.dim, len(statistics.counts) - 1)
    if not 1 <= rank <= most:
        speakers = f"{len(statistics.counts)} speakers and {statistics.dim} dimensions"
        raise DataError(
            NAME, f"{speakers} do not give a speaker subspace of {rank}", f"1 to {most} is possible"
        )
    return _converged(statistics, rank, f"simplified, speaker subspace of {rank}")


def kaldi(statistics: SpeakerStatistics) -> Estimate:
    """What Kaldi's ivector-compute-plda estimates: ten iterations from unit covariances.

    The mean is that of the speakers' means and stays. The result depends on the scale of the embeddings;
    Kaldi's recipes scale them to length sqrt(D) before.

    Raises:
        DataError: one speaker, or too few utterances for a within-speaker covariance.
    """
    statistics.check_within()
    unit = np.eye(statistics.dim)
    start = _Model(statistics.means.mean(axis=0), unit, unit)
    model, history = _iterate(statistics, start, _kaldi_iteration, KALDI_ITERS, -np.inf)
    return Estimate(from_covariances(model.mean, model.within, model.between, "Kaldi"), history)


def _converged(statistics: SpeakerStatistics, rank: int, kind: str) -> Estimate:
    """EM from the moments of the data, until an iteration gains under ``TOLERANCE``."""
    statistics.check_within()
    transform, psi = diagonalise(statistics.within, statistics.between)
    factors = linalg.inv(transform)[:, :rank] * np.sqrt(psi[:rank])
    start = _Model(statistics.mean, statistics.within, factors @ factors.T)

    def improve(statistics: SpeakerStatistics, model: _Model) -> _Model:
        return _iteration(statistics, model, rank)

    model, history = _iterate(statistics, start, improve, MAX_ITERS, TOLERANCE)
    transform, psi = diagonalise(model.within, model.between)
    psi[rank:] = 0.0  # but for rounding
    return Estimate(Plda(model.mean, transform, psi, kind), history)


def _iterate(
    statistics: SpeakerStatistics,
    model: _Model,
    improve: Callable[[SpeakerStatistics, _Model], _Model],
    num_iters: int,
    tolerance: float,
) -> tuple[_Model, tuple[float, ...]]:
    """``improve`` the model until it gains at most ``tolerance`` nats per utterance."""
    history = [log_likelihood(statistics, model.mean, model.within, model.between)]
    for _ in progress(range(num_iters), "EM of PLDA", num_iters):
        model = improve(statistics, model)
        history.append(log_likelihood(statistics, model.mean, model.within, model.between))
        if history[-1] - history[-2] <= tolerance * statistics.num_utts:
            return model, tuple(history)
    if tolerance > 0:
        gain = (history[-1] - history[-2]) / statistics.num_utts
        logging.warning("EM of PLDA stopped after %d iterations, the last gaining %.1e nats", num_iters, gain)
    return model, tuple(history)


def log_likelihood(
    statistics: SpeakerStatistics, mean: Float64Array, within: Float64Array, between: Float64Array
) -> float:
    """Log density of all training embeddings, in nats.

    An orthogonal transform of a speaker's n embeddings leaves sqrt(n) times their mean, of covariance
    n between + within, and n - 1 vectors of covariance within, all independent.
    """
    transform, psi = diagonalise(within, between)
    n = statistics.counts[:, None].astype(np.float64)
    projected = (statistics.means - mean) @ transform.T
    spread = n * psi + 1
    of_means = (np.log(spread) + n * projected**2 / spread).sum()
    of_rest = np.einsum("ij,ij->", transform @ statistics.scatter, transform)
    log_det = -2 * np.linalg.slogdet(transform)[1]
    constant = statistics.num_utts * (statistics.dim * np.log(2 * np.pi) + log_det)
    return float(-0.5 * (of_means + of_rest + constant))


def _kaldi_iteration(statistics: SpeakerStatistics, model: _Model) -> _Model:
    """One iteration of EM, speaker variables y hidden: computed where within is I and between is diagonal."""
    transform, psi = diagonalise(model.within, model.between)
    n = statistics.counts[:, None].astype(np.float64)
    projected = (statistics.means - model.mean) @ transform.T
    expected = projected * (n * psi / (n * psi + 1))
    variance = psi / (n * psi + 1)
    between = (expected.T @ expected + np.diag(variance.sum(axis=0))) / len(expected)
    rest = projected - expected
    scatter = transform @ statistics.scatter @ transform.T
    within = scatter + (rest.T * statistics.counts) @ rest + np.diag((n * variance).sum(axis=0))
    back = linalg.inv(transform)
    return _Model(model.mean, back @ (within / statistics.num_utts) @ back.T, back @ between @ back.T)


def _iteration(statistics: SpeakerStatistics, model: _Model, rank: int) -> _Model:
    """One iteration of EM, h hidden, then minimum divergence: the h found are made N(0, I) again.

    Rotated so that F^T within^-1 F is diagonal, which changes nothing: then u = T (x - mean) depends on h by
    diag(sqrt(psi)) alone, and each h has an independent posterior.
    """
    transform, psi = diagonalise(model.within, model.between)
    root = np.sqrt(psi[:rank])
    n = statistics.counts[:, None].astype(np.float64)
    projected = (statistics.means - model.mean) @ transform.T
    precision = 1 + n * psi[:rank]
    hidden = n * root * projected[:, :rank] / precision
    variance = 1 / precision
    # Regression of u on (h, 1): the M-step of F and of the mean at once.
    augmented = np.hstack([hidden, np.ones((len(hidden), 1))])
    second = (augmented.T * statistics.counts) @ augmented
    second[range(rank), range(rank)] += (n * variance).sum(axis=0)
    cross = (projected.T * statistics.counts) @ augmented
    solution = linalg.solve(second, cross.T, assume_a="pos").T
    scatter = transform @ statistics.scatter @ transform.T + (projected.T * statistics.counts) @ projected
    within = (scatter - solution @ cross.T) / statistics.num_utts
    centre = hidden.mean(axis=0)
    spread = (hidden - centre).T @ (hidden - centre) / len(hidden) + np.diag(variance.mean(axis=0))
    factors = solution[:, :rank] @ linalg.cholesky(spread, lower=True)
    back = linalg.inv(transform)
    shift = solution[:, rank] + solution[:, :rank] @ centre
    between = factors @ factors.T
    within = (within + within.T) / 2
    return _Model(model.mean + back @ shift, back @ within @ back.T, back @ between @ back.T)
