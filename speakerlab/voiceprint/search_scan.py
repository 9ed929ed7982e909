"""The k best rows of an index for each query: a coarse scan with a proven error, then exact scores.

``best = best_rows(matrix, queries, top_k, Int8Scanner(matrix, queries.directions, num_threads), pool)``. The scan
reads int8 codes or fp32 vectors in pieces that stay in the cache. Whatever its error, a row that could be among
the k best is scored again from its fp32 vector in float64: results do not depend on how the scan was done.

The error of a cosine: of row v = s c + r and query q = t d + p, both of length 1, with integers c and d,
|q v - s t (c d)| = |q r + p (s c)| <= |r| + |p| (1 + |r|), by Cauchy and Schwarz; |r| is kept for each row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from speakerlab.types import Float32Array, Float64Array

PIECE_ROWS = 8192  # 1.5 MB of codes at 192 components: about what a core's own cache holds
FIRST_EXACT = 32  # rows of a piece that are scored exactly before the others are compared with them
MAX_EXACT = 4096
QUERIES_AT_ONCE = 32
ROUNDING = 2e-6  # of the scan's few operations in fp32 on numbers up to 1, generously
HALF_ULP = 2.0**-24
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
    """Approximate cosines, of rows and of all queries."""

    num_threads: int
    error: Float64Array  # of a query's cosines beyond that of the row, [Q]
    factor: Float64Array  # by which a row's error counts, [Q]

    def cosines(self, start: int, end: int) -> Float32Array:
        """Of rows [start, end) with all queries, [rows, Q]."""
        ...

    def row_error(self, start: int, end: int) -> float:
        """The highest error of these rows."""
        ...


class Fp32Scanner:
    """Products of the fp32 vectors by numpy, whose BLAS has threads of its own."""

    num_threads = 1

    def __init__(self, matrix: Matrix, directions: Float64Array) -> None:
        self._vectors = matrix.vectors
        self._queries = directions.astype(np.float32).T
        dim = len(self._queries)
        self.error = np.full(len(directions), 2 * dim * HALF_ULP + ROUNDING)  # Higham 2002, eq. 3.5
        self.factor = np.zeros(len(directions))

    def cosines(self, start: int, end: int) -> Float32Array:
        """Of rows [start, end), [rows, Q]."""
        return np.asarray(self._vectors[start:end] @ self._queries)

    def gathered(self, rows: Rows) -> Float32Array:
        """Of any rows, [rows, Q]."""
        return np.asarray(self._vectors[rows] @ self._queries)

    def row_error(self, start: int, end: int) -> float:  # noqa: ARG002
        """None beyond that of the query."""
        return 0.0


class Int8Scanner:
    """Products of the int8 codes by torch; exact integers, scaled.

    Up to 16 columns cost the same, so a few rows are taken for one long one, and each query stands in the
    product once for each of their places.
    """

    def __init__(self, matrix: Matrix, directions: Float64Array, num_threads: int) -> None:
        import torch

        self._int_mm: Callable[..., Any] = torch._int_mm
        self.num_threads = num_threads
        codes, steps, errors = quantised(directions)
        dim, num = directions.shape[1], len(directions)
        self._together = max(1, min(4, WIDE // num))
        wide = np.zeros((self._together, dim, self._together, num), np.int8)
        for place in range(self._together):
            wide[place, :, place] = codes.T
        self._weights = torch.from_numpy(wide.reshape(self._together * dim, self._together * num))
        self._rows = torch.from_numpy(matrix.codes).view(-1, self._together * dim)
        self._scales = torch.from_numpy(matrix.scales).view(-1, 1)
        self._steps = None if num == 1 else torch.from_numpy(steps.astype(np.float32))
        self._step, self._num, self._errors = float(steps[0]), num, matrix.errors
        self.factor = 1 + errors
        self.error = errors * (1 + ROUNDING) + ROUNDING

    def cosines(self, start: int, end: int) -> Float32Array:
        """Of rows [start, end) and a few more, [rows, Q]."""
        end = min(-(-end // self._together) * self._together, len(self._scales))
        dots = self._int_mm(self._rows[start // self._together : end // self._together], self._weights)
        cosines = dots.view(-1, self._num) * self._scales[start:end]
        cosines *= self._step if self._steps is None else self._steps
        found: Float32Array = cosines.numpy()
        return found

    def row_error(self, start: int, end: int) -> float:
        """The longest rest of these rows."""
        return float(self._errors[start:end].max())


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


class Best:
    """The k best rows of one query so far, by exact score; equal scores by id."""

    def __init__(self, matrix: Matrix, queries: Queries, which: int, top_k: int) -> None:
        self._matrix, self.top_k = matrix, top_k
        self._direction = queries.directions[which]
        self._gain, self._bias = float(queries.gains[which]), float(queries.biases[which])
        self.ids: Ids = matrix.ids[:0]
        self.scores: Float64Array = np.empty(0)
        self.floor = -np.inf  # a row below it is not among the k best

    @property
    def cosine_floor(self) -> float:
        """The floor as a cosine, where rows add nothing to it and the query's gain is above 0."""
        return (self.floor - self._bias) / self._gain

    def offer_cosines(self, rows: Rows, approximate: Float32Array, error: float) -> None:
        """As ``offer``, of cosines, where ``cosine_floor`` holds."""
        scores = approximate.astype(np.float64) * self._gain + self._bias
        self.offer(rows, scores, error * self._gain)

    def offer(self, rows: Rows, approximate: npt.NDArray[np.floating], error: float) -> None:
        """Take up those of ``rows`` that are among the best; approximate scores are within ``error``."""
        alive = self._matrix.live[rows]
        rows, approximate, size = rows[alive], approximate[alive], max(FIRST_EXACT, self.top_k)
        while len(rows):
            cut = max(len(rows) - size, 0)
            order = np.argpartition(approximate, cut)
            self._take(rows[order[cut:]])
            later = order[:cut]
            later = later[approximate[later] >= self.floor - error]
            rows, approximate, size = rows[later], approximate[later], min(2 * size, MAX_EXACT)

    def _take(self, rows: Rows) -> None:
        matrix = self._matrix
        cosines = (matrix.vectors[rows] * self._direction).sum(
            axis=1
        )  # each row alone: no other moves its sum
        scores = cosines * (matrix.gains[rows] + self._gain) + matrix.biases[rows] + self._bias
        good = scores >= self.floor
        ids, scores = np.append(self.ids, matrix.ids[rows[good]]), np.append(self.scores, scores[good])
        order = np.lexsort((ids, -scores))[: self.top_k]
        self.ids, self.scores = ids[order], scores[order]
        if len(order) == self.top_k:
            self.floor = float(self.scores[-1])


def best_rows(
    matrix: Matrix,
    queries: Queries,
    top_k: int,
    scanner: Scanner,
    pool: ThreadPoolExecutor | None = None,
    among: npt.NDArray[np.bool_] | None = None,
) -> list[Best]:
    """The best rows for each query.

    Args:
        matrix: what is searched.
        queries: at most ``QUERIES_AT_ONCE``, for which ``scanner`` was made.
        top_k: how many rows.
        scanner: gives the approximate cosines.
        pool: threads that scan pieces beside each other; None: this thread.
        among: which rows count, [used].
    """
    scan = _Scan(matrix, queries, top_k, scanner, among)
    pieces = range(0, matrix.used, PIECE_ROWS)
    if pool is None:
        scan.run(pieces)
    else:
        shared = _Shared(pieces)
        for worker in [pool.submit(scan.run, shared) for _ in range(scanner.num_threads)]:
            worker.result()
    return scan.best


def best_of_few(matrix: Matrix, queries: Queries, top_k: int, rows: Rows) -> list[Best]:
    """As ``best_rows``, of ``rows`` only, whose vectors are read one by one."""
    scanner = Fp32Scanner(matrix, queries.directions)
    scan = _Scan(matrix, queries, top_k, scanner, None)
    for start in range(0, len(rows), PIECE_ROWS):
        piece = rows[start : start + PIECE_ROWS]
        scan.take(scan.scores(scanner.gathered(piece), piece), 0.0, piece)
    return scan.best


class _Scan:
    """One pass over the rows for a few queries; pieces may come from several threads."""

    def __init__(
        self,
        matrix: Matrix,
        queries: Queries,
        top_k: int,
        scanner: Scanner,
        among: npt.NDArray[np.bool_] | None,
    ) -> None:
        self._matrix, self._scanner, self._among, self._queries = matrix, scanner, among, queries
        self.best = [Best(matrix, queries, which, top_k) for which in range(len(queries.gains))]
        self._as_cosines = matrix.plain and bool((queries.gains > 0).all())
        ends = np.abs(queries.gains[:, None] + np.array(matrix.gain_range)).max(axis=1)
        size = matrix.max_bias + np.abs(queries.biases)
        self._steepness = np.ones(len(ends)) if self._as_cosines else ends
        # What fp32 makes of scores that are not cosines, and float64 of their way back to cosines.
        self._rounding = size * 1e-15 / ends if self._as_cosines else (ends + size) * ROUNDING
        self._lock = threading.Lock()

    def run(self, starts: Iterable[int]) -> None:
        for start in starts:
            end = min(start + PIECE_ROWS, self._matrix.used)
            cosines = self._scanner.cosines(start, end)[: end - start]
            self.take(self.scores(cosines, slice(start, end)), self._scanner.row_error(start, end), start)

    def scores(self, cosines: Float32Array, rows: Rows | slice) -> Float32Array:
        """Approximate scores, [rows, Q]; where all rows are alike in gain and bias, the cosines do."""
        if self._as_cosines:
            return cosines
        gains = (self._matrix.gains[rows][:, None] + self._queries.gains).astype(np.float32)
        biases = (self._matrix.biases[rows][:, None] + self._queries.biases).astype(np.float32)
        return np.asarray(cosines * gains + biases)

    def take(self, scores: Float32Array, row_error: float, rows: Rows | int) -> None:
        """Offer the rows of a piece, or those from a first one on, that reach a query's floor."""
        error = (row_error * self._scanner.factor + self._scanner.error) * self._steepness + self._rounding
        for which in np.flatnonzero(scores.max(axis=0) >= self._floors() - error):
            column = np.ascontiguousarray(scores[:, which])
            with self._lock:
                self._offer(self.best[which], column, float(error[which]), rows)

    def _offer(self, best: Best, column: Float32Array, error: float, rows: Rows | int) -> None:
        found = np.flatnonzero(column >= self._floor(best) - error)
        chosen = found + rows if isinstance(rows, int) else rows[found]
        if self._among is not None:
            keep = self._among[chosen]
            found, chosen = found[keep], chosen[keep]
        (best.offer_cosines if self._as_cosines else best.offer)(chosen, column[found], error)

    def _floor(self, best: Best) -> float:
        return best.cosine_floor if self._as_cosines else best.floor

    def _floors(self) -> Float64Array:
        return np.array([self._floor(best) for best in self.best])


class _Shared:
    """Items, each of which goes to one of several threads."""

    def __init__(self, items: Iterable[int]) -> None:
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._items)
