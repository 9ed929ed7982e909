"""Adaptation of PLDA to another domain, with and without speaker labels from it.

In: a ``Plda`` and embeddings of the domain, transformed as those it was trained on; out: a ``Plda``.
``kaldi_unsupervised(plda, matrix)``, ``coral(plda, matrix)``, ``coral_plus(plda, matrix)``,
``interpolate(plda, in_domain, 0.5)``.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from speakerlab.backend.plda import Plda, from_covariances
from speakerlab.backend.statistics import RANK_TOLERANCE
from speakerlab.errors import DataError
from speakerlab.types import Float64Array

NAME = "adaptation embeddings"


def kaldi_unsupervised(
    plda: Plda,
    matrix: Float64Array,
    within_scale: float = 0.3,
    between_scale: float = 0.7,
    mean_diff_scale: float = 1.0,
) -> Plda:
    """What Kaldi's ivector-adapt-plda does, with its defaults (PldaUnsupervisedAdaptor, ivector/plda.cc).

    Where the total covariance of the model is I, the directions in which the new embeddings [N, D] vary by
    more than 1 are found; of the excess, ``within_scale`` is added to the within-speaker covariance and
    ``between_scale`` to that between speakers. The mean becomes that of the new embeddings; the square of its
    shift, times ``mean_diff_scale``, counts as variance.

    Raises:
        DataError: rows of another size, NaN or Inf, negative scales.
    """
    _check_scales(within_scale, between_scale, mean_diff_scale)
    mean, covariance = _moments(plda, matrix)
    shift = mean - plda.mean
    covariance += mean_diff_scale * np.outer(shift, shift)
    to_unit = plda.transform / np.sqrt(1 + plda.psi)[:, None]
    variances, vectors = linalg.eigh(to_unit @ covariance @ to_unit.T)
    back = linalg.inv(to_unit) @ vectors
    excess = (back * np.maximum(variances - 1, 0)) @ back.T
    within, between = plda.within + within_scale * excess, plda.between + between_scale * excess
    return _adapted(plda, mean, within, between, "Kaldi's unsupervised adaptation")


def coral(plda: Plda, matrix: Float64Array) -> Plda:
    """Correlation alignment in the model: both covariances recoloured as if training embeddings had been.

    x -> C_in^(1/2) C_out^(-1/2) x, C_out being the model's total covariance and C_in that of the new
    embeddings [N, D], whose mean becomes the model's (Sun, Feng & Saenko, AAAI 2016; Alam, Bhattacharya &
    Kenny, Odyssey 2018).

    Raises:
        DataError: rows of another size, NaN or Inf, too few rows for a covariance with an inverse.
    """
    mean, covariance = _moments(plda, matrix)
    within, between = _recoloured(plda, covariance)
    return _adapted(plda, mean, within, between, "CORAL")


def coral_plus(
    plda: Plda, matrix: Float64Array, within_scale: float = 0.8, between_scale: float = 0.8
) -> Plda:
    """CORAL+ of Lee, Wang & Koshinaka, "The CORAL+ algorithm", ICASSP 2019, arXiv 1812.10260.

    Each covariance grows by its scale times what that of ``coral`` exceeds it by, in the directions in which
    it does, the two being diagonalised together; it never shrinks. A between-speaker covariance of low rank
    is taken as nearly singular. The mean becomes that of the new embeddings.

    Raises:
        DataError: what ``coral`` raises; a negative scale.
    """
    _check_scales(within_scale, between_scale)
    mean, covariance = _moments(plda, matrix)
    new_within, new_between = _recoloured(plda, covariance)
    within = plda.within + within_scale * _excess(new_within, plda.within)
    between = plda.between + between_scale * _excess(new_between, plda.between)
    return _adapted(plda, mean, within, between, "CORAL+")


def interpolate(plda: Plda, in_domain: Plda, weight: float) -> Plda:
    """Supervised: covariances ``weight`` of the way from ``plda`` to a model of labelled in-domain data.

    Garcia-Romero & McCree, "Supervised domain adaptation for i-vector based speaker recognition", ICASSP
    2014. The mean becomes that of ``in_domain``.

    Raises:
        DataError: models of different size, ``weight`` not in 0..1.
    """
    if in_domain.dim != plda.dim:
        raise DataError("PLDA", f"is of size {plda.dim}, the in-domain one of size {in_domain.dim}")
    if not 0 <= weight <= 1:
        raise DataError("PLDA", f"the weight of the in-domain model is {weight:g}", "give one from 0 to 1")
    within = (1 - weight) * plda.within + weight * in_domain.within
    between = (1 - weight) * plda.between + weight * in_domain.between
    return _adapted(plda, in_domain.mean, within, between, f"interpolated by {weight:g}")


def _check_scales(*scales: float) -> None:
    if not all(scale >= 0 for scale in scales):
        raise DataError(NAME, f"the scales {scales} are not all 0 or more")


def _moments(plda: Plda, matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Mean [D] and covariance [D, D] (over N) of the rows."""
    if matrix.ndim != 2 or matrix.shape[1] != plda.dim or len(matrix) < 2:
        raise DataError(NAME, f"are an array {matrix.shape}, not two rows or more of size {plda.dim}")
    if not np.isfinite(matrix).all():
        raise DataError(NAME, "have NaN or Inf", "extract them again")
    mean = matrix.mean(axis=0)
    centred = matrix - mean
    return mean, centred.T @ centred / len(matrix)


def _recoloured(plda: Plda, covariance: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The model's covariances with the total covariance made ``covariance``."""
    variances = linalg.eigvalsh(covariance)
    rank = int((variances > RANK_TOLERANCE * variances[-1]).sum())
    if rank < plda.dim:
        why = f"vary in {rank} of {plda.dim} dimensions only"
        raise DataError(NAME, why, "give more of them, or use Kaldi's adaptation")
    colour = _root(covariance, 0.5) @ _root(plda.within + plda.between, -0.5)
    return colour @ plda.within @ colour.T, colour @ plda.between @ colour.T


def _root(covariance: Float64Array, power: float) -> Float64Array:
    """The symmetric power of a positive definite matrix."""
    variances, vectors = linalg.eigh(covariance)
    return np.asarray((vectors * variances**power) @ vectors.T)


def _excess(new: Float64Array, old: Float64Array) -> Float64Array:
    """B^-T max(0, E - I) B^-1 where B makes ``old`` I and ``new`` diagonal, E: what ``new`` has more."""
    floor = RANK_TOLERANCE * linalg.eigvalsh(old)[-1]
    ratios, vectors = linalg.eigh(new, old + floor * np.eye(len(old)))
    back = linalg.inv(vectors)
    return np.asarray((back.T * np.maximum(ratios - 1, 0)) @ back)


def _adapted(plda: Plda, mean: Float64Array, within: Float64Array, between: Float64Array, how: str) -> Plda:
    """The model with these covariances, symmetric but for rounding, that says what was done to ``plda``."""
    kind = f"{plda.kind}, {how}"
    return from_covariances(mean, (within + within.T) / 2, (between + between.T) / 2, kind, plda.length_norm)
