"""Approximate cosines of the rows of an index with a few queries, and a bound of their error.

``scanner = Int8Scanner(matrix, directions, num_threads)``; ``scanner.products(0, 8192) * scanner.units``.

The error of a cosine: of row v = s c + r and query q = t d + p, both of length 1, with integers c and d,
|q v - s t (c d)| = |q r + p (s c)| <= |r| + |p| (1 + |r|), by Cauchy and Schwarz; |r| is kept for each row.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from speakerlab.types import Float32Array, Float64Array

ROUNDING = 2e-6  # of the scan's few operations in fp32 on numbers up to 1, generously
HALF_ULP = 2.0**-24
SIDE_BY_SIDE = 64  # rows; the columns of an index are a multiple of it long
WIDE = 16  # columns for which the int8 product costs no more than for one: rows are laid side by side

Rows = npt.NDArray[np.int64]
Ids = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class Matrix:
    """The columns of an index as ``index_files`` has them; rows from ``used`` on hold nothing."""

    vectors: Float32Array
    codes: npt.NDArray[np.int8]
    scales: Float32Array
    errors: Float32Array
    gains: Float64Array
    biases: Float64Array
    live: npt.NDArray[np.bool_]
    ids: Ids
    used: int
    gain_range: tuple[float, float]
    max_bias: float

    @property
    def plain(self) -> bool:
        """Whether scores are the cosines, but for what a query adds."""
        return self.gain_range == (0.0, 0.0) and self.max_bias == 0.0


@dataclass(frozen=True)
class Queries:
    """Directions float64 [Q, D] of length 1, and what each adds to gain and bias, [Q]."""

    directions: Float64Array
    gains: Float64Array
    biases: Float64Array


class Scanner(Protocol):
    """Approximate cosines of rows with a few queries; ``units`` times what it gives."""

    num_threads: int
    piece_rows: int  # a multiple of SIDE_BY_SIDE
    units: Float64Array  # [Q]
    error: Float64Array  # of a query's cosines beyond that of the row, [Q]
    factor: Float64Array  # by which a row's error counts, [Q]

    def products(self, start: int, end: int) -> Float32Array:
        """Of rows [start, end) with all queries, [rows, Q]; good until the same thread asks again."""
        ...

    def row_error(self, start: int, end: int) -> float:
        """The highest error of these rows."""
        ...


class Fp32Scanner:
    """Products of the fp32 vectors by numpy, whose BLAS has threads of its own."""

    num_threads = 1
    piece_rows = 8192

    def __init__(self, matrix: Matrix, directions: Float64Array) -> None:
        self._vectors = matrix.vectors
        self._queries = directions.astype(np.float32).T
        self.units = np.ones(len(directions))
        dim = len(self._queries)
        self.error = np.full(len(directions), 2 * dim * HALF_ULP + ROUNDING)  # Higham 2002, eq. 3.5
        self.factor = np.zeros(len(directions))

    def products(self, start: int, end: int) -> Float32Array:
        """Of rows [start, end), [rows, Q]."""
        return np.asarray(self._vectors[start:end] @ self._queries)

    def gathered(self, rows: Rows) -> Float32Array:
        """Of any rows, [rows, Q]."""
        return np.asarray(self._vectors[rows] @ self._queries)

    def row_error(self, start: int, end: int) -> float:  # noqa: ARG002
        """None beyond that of the query."""
        return 0.0


class Int8Scanner:
    """Products of the int8 codes by torch; exact integers, times the scale of the row.

    Up to 16 columns cost the same, so a few rows are taken for one long one, and each query stands in the
    product once for each of their places.
    """

    def __init__(self, matrix: Matrix, directions: Float64Array, num_threads: int) -> None:
        import torch

        self._torch, self._room = torch, threading.local()
        self.num_threads = num_threads
        codes, self.units, errors = quantised(directions)
        num, dim = directions.shape
        together = 4 if num <= WIDE // 4 else 2 if num <= WIDE // 2 else 1
        self.piece_rows = 32768 if num <= WIDE // 4 else 8192  # products stay in the cache of a core
        wide = np.zeros((together, dim, together, num), np.int8)
        for place in range(together):
            wide[place, :, place] = codes.T
        self._weights = torch.from_numpy(wide.reshape(together * dim, together * num))
        self._rows = torch.from_numpy(matrix.codes).view(-1, together * dim)
        self._scales = torch.from_numpy(matrix.scales).view(-1, 1)
        self._together, self._num, self._errors = together, num, matrix.errors
        self.factor = 1 + errors
        self.error = errors * (1 + ROUNDING) + ROUNDING

    def products(self, start: int, end: int) -> Float32Array:
        """Of rows [start, end), [rows, Q]."""
        dots, found = self._buffers((end - start) // self._together)
        self._torch._int_mm(
            self._rows[start // self._together : end // self._together], self._weights, out=dots
        )
        found.copy_(dots.view(-1, self._num))  # beforehand: a product of int32 and fp32 is slow
        found.mul_(self._scales[start:end])
        products: Float32Array = found.numpy()
        return products

    def row_error(self, start: int, end: int) -> float:
        """The longest rest of these rows."""
        return float(self._errors[start:end].max())

    def _buffers(self, long_rows: int) -> Any:
        """Where this thread's products go: memory that is made anew each time is slow."""
        if getattr(self._room, "rows", None) != long_rows:
            torch, room = self._torch, self._room
            room.rows = long_rows
            dots = torch.empty(long_rows, self._together * self._num, dtype=torch.int32)
            room.buffers = dots, torch.empty(long_rows * self._together, self._num)
        return self._room.buffers


def quantised(vectors: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int8], Float64Array, Float64Array]:
    """Codes int8 [N, D] in -127..127, the step of each row and how long the rest is, both float64 [N]."""
    rows = np.asarray(vectors, np.float64)
    steps = (np.abs(rows).max(axis=1) / 127).astype(np.float32).astype(np.float64)
    steps = np.maximum(steps, np.finfo(np.float32).tiny)
    codes = np.clip(np.rint(rows / steps[:, None]), -127, 127)
    errors = np.linalg.norm(rows - codes * steps[:, None], axis=1)
    return codes.astype(np.int8), steps, errors


def int8_works() -> bool:
    """Whether this torch multiplies int8 matrices right: ``torch._int_mm`` is not a promised function."""
    try:
        import torch

        numbers = np.random.default_rng(0)
        for rows, dim, columns in ((64, 192, 1), (16, 768, 4), (64, 192, 32), (33, 50, 3)):
            left = numbers.integers(-127, 128, (rows, dim), np.int8)
            right = numbers.integers(-127, 128, (dim, columns), np.int8)
            left[:2], right[:, 0] = 127, -127  # the largest sums
            found = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right)).numpy()
            if not np.array_equal(found, left.astype(np.int32) @ right.astype(np.int32)):
                return False
    except (ImportError, AttributeError, RuntimeError, TypeError):
        return False
    return True
