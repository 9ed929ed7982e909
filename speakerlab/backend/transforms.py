"""What is done to embeddings before they are compared: centring and scaling to one length.

In and out: float64 matrices, one embedding a row. ``LengthNorm().apply(centre(matrix).apply(matrix))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

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
