"""The k best rows of an index for each query: a scan of approximate products, then exact scores.

``best = best_rows(matrix, queries, top_k, Int8Scanner(matrix, queries.directions, num_threads), pool)``.
Pieces that stay in the cache are scanned, by several threads. A row that could be among the k best, whatever
the error of its product, is scored again from its fp32 vector in float64: results do not depend on the scan.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from speakerlab.types import Float32Array, Float64Array
from speakerlab.voiceprint.search_products import (
    ROUNDING,
    SIDE_BY_SIDE,
    Fp32Scanner,
    Ids,
    Matrix,
    Queries,
    Rows,
    Scanner,
)

QUERIES_AT_ONCE = 32
FIRST_EXACT = 32  # rows that are scored exactly before the others are compared with them
MAX_EXACT = 4096
FIRST_NOTED, MAX_NOTED = 4, 4096  # rows of a query that wait for being scored exactly: ever more


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

    def offer_cosines(self, rows: Rows, highest: Float64Array) -> None:
        """As ``offer``, of cosines, where ``cosine_floor`` holds."""
        self.offer(rows, highest * self._gain + self._bias)

    def offer(self, rows: Rows, highest: Float64Array) -> None:
        """Take up those of ``rows`` that are among the best; ``highest`` is what each can score."""
        alive = self._matrix.live[rows]
        rows, highest, size = rows[alive], highest[alive], max(FIRST_EXACT, self.top_k)
        while len(rows):
            cut = max(len(rows) - size, 0)
            order = np.argpartition(highest, cut)
            self._take(rows[order[cut:]])
            later = order[:cut]
            later = later[highest[later] >= self.floor]
            rows, highest, size = rows[later], highest[later], min(2 * size, MAX_EXACT)

    def _take(self, rows: Rows) -> None:
        matrix = self._matrix
        cosines = (matrix.vectors[rows] * self._direction).sum(
            axis=1
        )  # each row alone: no other moves its sum
        scores = cosines * (matrix.gains[rows] + self._gain) + matrix.biases[rows] + self._bias
        good = scores >= self.floor
        if not good.any():
            return
        ids = np.concatenate([self.ids, matrix.ids[rows[good]]])
        scores = np.concatenate([self.scores, scores[good]])
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
        among: which rows count, as long as the columns of ``matrix``.
    """
    scan = _Scan(matrix, queries, top_k, scanner, among)
    pieces = range(0, matrix.used, scanner.piece_rows)
    if pool is None:
        scan.run(pieces)
    else:
        shared = _Shared(pieces)
        for worker in [pool.submit(scan.run, shared) for _ in range(scanner.num_threads)]:
            worker.result()
    return scan.finish()


def best_of_few(matrix: Matrix, queries: Queries, top_k: int, rows: Rows) -> list[Best]:
    """As ``best_rows``, of ``rows`` only, whose vectors are read one by one."""
    scanner = Fp32Scanner(matrix, queries.directions)
    scan = _Scan(matrix, queries, top_k, scanner, None)
    for start in range(0, len(rows), scanner.piece_rows):
        piece = rows[start : start + scanner.piece_rows]
        scan.take(scanner.gathered(piece), 0.0, piece)
    return scan.finish()


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
        self._best = [Best(matrix, queries, which, top_k) for which in range(len(queries.gains))]
        self._as_cosines = matrix.plain and bool((queries.gains > 0).all())
        ends = np.abs(queries.gains[:, None] + np.array(matrix.gain_range)).max(axis=1)
        size = matrix.max_bias + np.abs(queries.biases)
        self._steepness = np.ones(len(ends)) if self._as_cosines else ends
        # What fp32 makes of scores that are not cosines, and float64 of their way back to cosines.
        self._rounding = size * 1e-15 / ends if self._as_cosines else (ends + size) * ROUNDING
        num, self._top_k = len(ends), top_k
        self._least = np.full((top_k, num), -np.inf)  # what the best rows seen so far score at least
        self._floors = np.full(num, -np.inf)  # a row below it is not among the best
        self._noted: list[list[tuple[Rows, Float64Array]]] = [[] for _ in range(num)]
        self._num_noted, self._limits = [0] * num, [max(FIRST_NOTED, top_k)] * num
        self._lock = threading.Lock()

    def run(self, starts: Iterable[int]) -> None:
        """Scan the pieces that begin at these rows."""
        last = -(-self._matrix.used // SIDE_BY_SIDE) * SIDE_BY_SIDE
        for start in starts:
            end = min(start + self._scanner.piece_rows, last)
            self.take(self._scanner.products(start, end), self._scanner.row_error(start, end), start)

    def finish(self) -> list[Best]:
        """The best, once all pieces were taken."""
        for which in range(len(self._best)):
            self._settle(which)
        return self._best

    def take(self, products: Float32Array, row_error: float, rows: Rows | int) -> None:
        """Note the rows of a piece, or those from a first one on, that reach a query's floor."""
        values, units = products, self._scanner.units
        if not self._as_cosines:
            values, units = self._scores(products, rows), np.ones(len(units))
        error = (row_error * self._scanner.factor + self._scanner.error) * self._steepness + self._rounding
        lanes = _lanes(values)
        hits = np.flatnonzero(lanes.max(axis=0) * units >= self._floors - error)
        if not len(hits):
            return
        with self._lock:
            if self._all_count(rows, len(values)):
                self._raise(hits, lanes[:, hits] * units[hits] - error[hits])
            for which in hits.tolist():
                lowest = (self._floors[which] - error[which]) / units[which]
                found, reached = _reaching(values, lanes, which, lowest)
                self._note(which, found, reached * units[which] + error[which], rows)
                if self._num_noted[which] > self._limits[which]:
                    self._settle(which)

    def _scores(self, products: Float32Array, rows: Rows | int) -> Float32Array:
        """Approximate scores, [rows, Q]."""
        place = slice(rows, rows + len(products)) if isinstance(rows, int) else rows
        gains = (self._matrix.gains[place][:, None] + self._queries.gains) * self._scanner.units
        biases = self._matrix.biases[place][:, None] + self._queries.biases
        return np.asarray(products * gains.astype(np.float32) + biases.astype(np.float32))

    def _all_count(self, rows: Rows | int, num_rows: int) -> bool:
        """Whether approximate scores can raise the floor: any row of the piece could be among the best."""
        if self._top_k > SIDE_BY_SIDE or self._among is not None or not isinstance(rows, int):
            return False
        return bool(self._matrix.live[rows : rows + num_rows].all())

    def _raise(self, hits: Rows, least: Float64Array) -> None:
        """Raise floors by what some rows of a piece, all different, score at ``least`` [rows, hits]."""
        known = np.concatenate([self._least[:, hits], least])
        best = np.partition(known, len(known) - self._top_k, axis=0)[-self._top_k :]
        self._least[:, hits] = best
        self._floors[hits] = np.maximum(self._floors[hits], best[0])

    def _note(self, which: int, found: Rows, highest: Float64Array, rows: Rows | int) -> None:
        """Keep what was found in a piece, and what each can score."""
        chosen = found + rows if isinstance(rows, int) else rows[found]
        if self._among is not None:
            keep = self._among[chosen]
            chosen, highest = chosen[keep], highest[keep]
        self._noted[which].append((chosen, highest))
        self._num_noted[which] += len(chosen)

    def _settle(self, which: int) -> None:
        """Score exactly what was noted and still reaches the floor."""
        noted, best = self._noted[which], self._best[which]
        rows = np.concatenate([rows for rows, _ in noted] or [np.empty(0, np.int64)])
        highest = np.concatenate([values for _, values in noted] or [np.empty(0)])
        self._noted[which], self._num_noted[which] = [], 0
        self._limits[which] = min(2 * self._limits[which], MAX_NOTED)
        good = highest >= self._floors[which]
        (best.offer_cosines if self._as_cosines else best.offer)(rows[good], highest[good])
        floor = best.cosine_floor if self._as_cosines else best.floor
        self._floors[which] = max(self._floors[which], floor)


def _lanes(values: Float32Array) -> Float32Array:
    """The highest of each column among every 64th row, [64, Q]; as long rows, which numpy compares faster."""
    num_rows, num = values.shape
    if num_rows % SIDE_BY_SIDE:
        return np.asarray(values.max(axis=0, keepdims=True))
    return np.asarray(values.reshape(-1, SIDE_BY_SIDE * num).max(axis=0).reshape(SIDE_BY_SIDE, num))


def _reaching(
    values: Float32Array, lanes: Float32Array, which: int, lowest: float
) -> tuple[Rows, Float64Array]:
    """Rows whose value in a column is at least ``lowest``, and the values; only in lanes that have such."""
    good = np.flatnonzero(lanes[:, which] >= lowest)
    some = values.reshape(-1, len(lanes), values.shape[1])[:, good, which]
    rows, columns = np.nonzero(some >= lowest)
    return rows * len(lanes) + good[columns], some[rows, columns].astype(np.float64)


class _Shared:
    """Items, each of which goes to one of several threads."""

    def __init__(self, items: Iterable[int]) -> None:
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._items)
