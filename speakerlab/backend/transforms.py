"""What is done to embeddings before they are compared: centring, whitening, LDA, WCCN, length.

In and out: float64 matrices, one embedding a row. ``LengthNorm().apply(lda(statistics, 100).apply(matrix))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import linalg

from speakerlab.backend.plda import diagonalise
from speakerlab.backend.statistics import NAME, RANK_TOLERANCE, SpeakerStatistics
from speakerlab.errors import DataError
from speakerlab.types import Float64Array


class Part(Protocol):
    """One step of a back-end; a frozen dataclass of texts, numbers and float64 arrays."""

    def describe(self) -> str:
        """What is done, in a few words."""

    @property
    def dim(self) -> int | None:
        """The size D it takes; None if any."""


class Transform(Part, Protocol):
    """What changes embeddings."""

    def apply(self, matrix: Float64Array) -> Float64Array:
        """``matrix`` [N, D] transformed, [N, E]; each row on its own."""


@dataclass(frozen=True, eq=False)
class Centre:
    """Subtracts ``mean`` [D]."""

    mean: Float64Array

    def apply(self, matrix: Float64Array) -> Float64Array:
        """``matrix`` [N, D] less the mean."""
        return matrix - self.mean

    def describe(self) -> str:
        """What is done, in a few words."""
        return "mean subtracted"

    @property
    def dim(self) -> int:
        """The size it takes."""
        return len(self.mean)


@dataclass(frozen=True, eq=False)
class Projection:
    """Multiplies each row by ``matrix`` [E, D]; ``label`` says what that does."""

    matrix: Float64Array
    label: str

    def apply(self, matrix: Float64Array) -> Float64Array:
        """``matrix`` [N, D] projected, [N, E]."""
        return np.asarray(matrix @ self.matrix.T)

    def describe(self) -> str:
        """What is done, in a few words."""
        return self.label

    @property
    def dim(self) -> int:
        """The size it takes."""
        return int(self.matrix.shape[1])


@dataclass(frozen=True)
class LengthNorm:
    """Scales each row to ``length``; a row of zeros, which has no direction, stays as it is.

    Garcia-Romero & Espy-Wilson, "Analysis of i-vector length normalization", Interspeech 2011.
    """

    length: float = 1.0

    def apply(self, matrix: Float64Array) -> Float64Array:
        """``matrix`` [N, D] with rows of one length."""
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        return matrix * (self.length / np.where(lengths == 0, 1.0, lengths))

    def describe(self) -> str:
        """What is done, in a few words."""
        return "length normalised"

    @property
    def dim(self) -> None:
        """Any size."""
        return None


def centre(matrix: Float64Array) -> Centre:
    """Subtraction of the mean row of ``matrix`` [N, D]."""
    return Centre(matrix.mean(axis=0))


def whiten_pca(statistics: SpeakerStatistics) -> Projection:
    """Principal components of the embeddings, each of variance 1, the greatest first.

    Directions in which embeddings do not vary (``RANK_TOLERANCE``) are dropped.

    Raises:
        DataError: embeddings that do not vary at all.
    """
    variances, vectors = _principal(statistics)
    matrix = (vectors / np.sqrt(variances)).T
    dropped = f" to {len(matrix)}" if len(matrix) < statistics.dim else ""
    return Projection(matrix, f"whitened (PCA){dropped}")


def whiten_zca(statistics: SpeakerStatistics) -> Projection:
    """The symmetric inverse root of the covariance: of all whitening transforms, it changes the least.

    Directions in which embeddings do not vary become zero.

    Raises:
        DataError: embeddings that do not vary at all.
    """
    variances, vectors = _principal(statistics)
    return Projection((vectors / np.sqrt(variances)) @ vectors.T, "whitened (ZCA)")


def lda(statistics: SpeakerStatistics, dim: int) -> Projection:
    """Linear discriminant analysis: the ``dim`` directions in which speakers differ most for their spread.

    Scaled so that the within-speaker covariance of the result is I, as Kaldi's ivector-compute-lda with
    --total-covariance-factor=0 (Fukunaga 1990, chapter 10).

    Raises:
        DataError: ``dim`` not in 1..min(D, number of speakers - 1); too few utterances.
    """
    statistics.check_within()
    most = min(statistics.dim, len(statistics.counts) - 1)
    if not 1 <= dim <= most:
        why = f"{len(statistics.counts)} speakers and {statistics.dim} dimensions do not give an LDA to {dim}"
        raise DataError(NAME, why, f"1 to {most} is possible")
    transform, _ = diagonalise(statistics.within, statistics.between)
    return Projection(transform[:dim], f"LDA to {dim}")


def wccn(statistics: SpeakerStatistics) -> Projection:
    """Within-class covariance normalisation: x -> B^T x with B B^T = within^-1, B the Cholesky factor.

    Hatch, Kajarekar & Stolcke, Interspeech 2006; the covariance is pooled over all utterances.

    Raises:
        DataError: too few utterances for a covariance with an inverse.
    """
    statistics.check_within()
    return Projection(linalg.cholesky(linalg.inv(statistics.within), lower=True).T, "WCCN")


def _principal(statistics: SpeakerStatistics) -> tuple[Float64Array, Float64Array]:
    """Variances [E] of all embeddings along orthonormal directions [D, E], descending, those of rank."""
    variances, vectors = linalg.eigh(statistics.within + statistics.between)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = variances > RANK_TOLERANCE * max(variances[0], 0.0)
    if not kept.any():
        raise DataError(NAME, "do not vary", "give different utterances")
    return variances[kept], vectors[:, kept]
