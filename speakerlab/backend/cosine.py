"""Cosine of embeddings, as a scorer of the back-end.

In: matrices, an embedding a row; out: factors, ``Cosine().test_factors(backend.transform(table).matrix)``, in
single precision: what is lost, 6e-8, is less than the product of two such rows loses, at twice the speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.types import Float32Array


@dataclass(frozen=True)
class Cosine:
    """Cosine of the angle: rows scaled to length 1, their inner product; how many a mean is of has no say."""

    def enroll_factors(self, matrix: npt.ArrayLike, counts: npt.ArrayLike) -> Float32Array:  # noqa: ARG002
        """Rows of ``matrix`` [M, D] scaled to length 1.

        Raises:
            DataError: a row is zero, which has no direction.
        """
        return self.test_factors(matrix)

    def test_factors(self, matrix: npt.ArrayLike) -> Float32Array:
        """Rows of ``matrix`` [N, D] scaled to length 1.

        Raises:
            DataError: a row is zero, which has no direction.
        """
        rows = np.asarray(matrix, dtype=np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        zero = np.flatnonzero(lengths == 0)
        if len(zero):
            raise DataError("cosine", f"row {zero[0]} is zero, without direction ({len(zero)} such rows)")
        return np.asarray(rows / lengths, dtype=np.float32)

    def describe(self) -> str:
        """What is compared, in a few words."""
        return "cosine"

    @property
    def dim(self) -> None:
        """Any size."""
        return None
