"""PLDA as a scorer: log likelihood ratios of "one speaker" against "two", all being Gaussian.

``plda = estimation.two_covariance(statistics).plda``; scores of models against test embeddings are
``plda.enroll_factors(means, counts) @ plda.test_factors(matrix).T``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import linalg

from speakerlab.errors import DataError
from speakerlab.types import Float64Array

LENGTH_NORMS = ("none", "kaldi", "kaldi-simple")


@dataclass(frozen=True, eq=False)
class Plda:
    """x = mean + y + e, with y ~ N(0, between) the speaker's and e ~ N(0, within) the recording's.

    Held as Kaldi holds it (ivector/plda.h): ``u = transform (x - mean)`` has within-speaker covariance I and
    between-speaker covariance diag(psi). The low-rank model is the one in which psi is zero from Q on.

    Attributes:
        mean: [D].
        transform: [D, D], invertible.
        psi: [D], not negative, in descending order.
        kind: how it was estimated, in words.
        length_norm: what is done to the length of u before it is scored. ``none``; ``kaldi``: scaled so that
            u^T (psi + I/n)^-1 u = D for the mean of n embeddings, what Kaldi's ivector-plda-scoring does by
            default; ``kaldi-simple``: scaled to length sqrt(D), its --simple-length-normalization.

    Raises:
        DataError: sizes that do not fit, values that are not finite, a singular transform, a negative psi,
            unknown ``length_norm``.
    """

    mean: Float64Array
    transform: Float64Array
    psi: Float64Array
    kind: str = "two-covariance"
    length_norm: str = "none"

    def __post_init__(self) -> None:
        dim = len(self.psi)
        if self.mean.shape != (dim,) or self.transform.shape != (dim, dim) or not dim:
            sizes = f"mean {self.mean.shape}, transform {self.transform.shape}, psi {self.psi.shape}"
            raise DataError("PLDA", f"sizes do not fit: {sizes}")
        if not all(np.isfinite(array).all() for array in (self.mean, self.transform, self.psi)):
            raise DataError("PLDA", "has NaN or Inf")
        if np.linalg.slogdet(self.transform)[0] == 0:
            raise DataError("PLDA", "its transform is singular")
        if (self.psi < 0).any():
            raise DataError("PLDA", f"has a negative between-speaker variance, {self.psi.min():g}")
        if self.length_norm not in LENGTH_NORMS:
            raise DataError(
                "PLDA", f"no length norm '{self.length_norm}'", f"valid: {', '.join(LENGTH_NORMS)}"
            )

    @property
    def dim(self) -> int:
        """D, the size of embeddings."""
        return len(self.psi)

    @cached_property
    def within(self) -> Float64Array:
        """Covariance of embeddings of one speaker, [D, D]."""
        inverse = linalg.inv(self.transform)
        return np.asarray(inverse @ inverse.T)

    @cached_property
    def between(self) -> Float64Array:
        """Covariance of speakers, [D, D]."""
        inverse = linalg.inv(self.transform)
        return np.asarray((inverse * self.psi) @ inverse.T)

    def describe(self) -> str:
        """What is compared, in a few words."""
        norm = {"none": "", "kaldi": ", Kaldi's length normalisation inside"}.get(
            self.length_norm, ", Kaldi's simple length normalisation inside"
        )
        return f"PLDA ({self.kind}{norm})"

    def project(self, matrix: npt.ArrayLike, counts: npt.ArrayLike) -> Float64Array:
        """The u of ``matrix`` [M, D], rows that are means of ``counts`` [M] embeddings: TransformIvector."""
        rows = np.asarray(matrix, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise DataError("PLDA", f"takes {self.dim}-d embeddings, not an array {rows.shape}")
        if not np.isfinite(rows).all():
            raise DataError("PLDA", "was given embeddings with NaN or Inf", "extract them again")
        projected = (rows - self.mean) @ self.transform.T
        if self.length_norm == "none":
            return np.asarray(projected)
        variances = np.ones((1, 1))
        if self.length_norm == "kaldi":
            variances = self.psi + 1 / np.asarray(counts, dtype=np.float64)[:, None]
        energy = (projected**2 / variances).sum(axis=1, keepdims=True)
        return np.asarray(projected * np.sqrt(self.dim / np.where(energy == 0, 1.0, energy)))

    def enroll_factors(self, matrix: npt.ArrayLike, counts: npt.ArrayLike) -> Float64Array:
        """Weights of what ``test_factors`` gives, [M, 2Q + 1]; Q is the number of psi > 0.

        Given n embeddings of mean u, the speaker's y has the posterior N(a u, psi / (n psi + 1)) with
        a = n psi / (n psi + 1), and a test embedding t of that speaker is N(a u, 1 + psi / (n psi + 1));
        of another one it is N(0, 1 + psi), per dimension (Ioffe 2006; Kaldi's LogLikelihoodRatio). The n
        embeddings are used by the book, not as if their mean were one embedding.

        Args:
            matrix: [M, D], means of the enrolment embeddings of each model.
            counts: [M], how many embeddings that is.

        Raises:
            DataError: a count below 1, rows of another size, NaN or Inf.
        """
        num = np.asarray(counts, dtype=np.float64)
        if not (num >= 1).all():
            raise DataError("PLDA", f"a model of {num.min():g} enrolment embeddings", "give at least one")
        active = self.psi > 0
        psi, n = self.psi[active], num[:, None]
        mean = self.project(matrix, num)[:, active] * (n * psi / (n * psi + 1))
        same, other = 1 + psi / (n * psi + 1), 1 + psi
        bias = -0.5 * (np.log(same / other) + mean**2 / same).sum(axis=1, keepdims=True)
        return np.hstack([mean / same, 0.5 * (1 / other - 1 / same), bias])

    def test_factors(self, matrix: npt.ArrayLike) -> Float64Array:
        """The t, t^2 and 1 of test embeddings [N, D] in the Q directions where psi > 0: [N, 2Q + 1].

        Raises:
            DataError: rows of another size, NaN or Inf.
        """
        rows = self.project(matrix, np.ones(len(np.asarray(matrix))))[:, self.psi > 0]
        return np.hstack([rows, rows**2, np.ones((len(rows), 1))])


def from_covariances(
    mean: Float64Array, within: Float64Array, between: Float64Array, kind: str, length_norm: str = "none"
) -> Plda:
    """The model with these covariances [D, D].

    Raises:
        DataError: ``within`` is singular.
    """
    transform, psi = diagonalise(within, between)
    return Plda(mean, transform, psi, kind, length_norm)


def diagonalise(within: Float64Array, between: Float64Array) -> tuple[Float64Array, Float64Array]:
    """T [D, D] and psi [D] with T within T^T = I and T between T^T = diag(psi), descending, not negative.

    The sign of each row of T is such that its greatest value is positive.

    Raises:
        DataError: ``within`` is not positive definite.
    """
    try:
        psi, vectors = linalg.eigh(between, within)
    except (linalg.LinAlgError, ValueError) as error:
        why = "the within-speaker covariance is singular"
        raise DataError("PLDA", why, "give more utterances, or fewer dimensions") from error
    transform = vectors.T[::-1]
    largest = np.abs(transform).argmax(axis=1)
    signs = np.sign(transform[np.arange(len(psi)), largest])
    return transform * signs[:, None], np.maximum(psi[::-1], 0.0)
