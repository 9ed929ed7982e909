"""The scan by faiss (extra ``faiss``): flat inner products of the mapped vectors, then the same exact scores.

``best_rows(matrix, queries, top_k, num_threads)``; chosen with ``SearchIndex.open(..., scan="faiss")``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from speakerlab.errors import MissingExtraError
from speakerlab.voiceprint.search_products import Fp32Scanner, Matrix, Queries
from speakerlab.voiceprint.search_scan import Best

MORE = 16  # rows asked for beyond top_k; more where rounding could hide one behind them
PIECE_ROWS = 1 << 20


def faiss() -> Any:
    """The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faiss as package
    except ImportError as error:
        raise MissingExtraError("faiss", "faiss") from error
    return package


def best_rows(matrix: Matrix, queries: Queries, top_k: int, num_threads: int) -> list[Best]:
    """As ``search_scan.best_rows``, where rows have neither gain nor bias and queries a gain above 0."""
    package = faiss()
    before = package.omp_get_max_threads()
    best = [Best(matrix, queries, which, top_k) for which in range(len(queries.gains))]
    error = float(Fp32Scanner(matrix, queries.directions).error[0])
    wanted = queries.directions.astype(np.float32)
    package.omp_set_num_threads(num_threads)
    try:
        for start in range(0, matrix.used, PIECE_ROWS):
            rows = matrix.vectors[start : min(start + PIECE_ROWS, matrix.used)]
            _take_piece(package, best, rows, start, wanted, error)
    finally:
        package.omp_set_num_threads(before)
    return best


def _take_piece(package: Any, best: list[Best], rows: Any, start: int, queries: Any, error: float) -> None:
    """Ask for more rows until the last of them cannot hide one that belongs to the best."""
    left, size = np.arange(len(best)), best[0].top_k + MORE
    offered = [np.empty(0, np.int64)] * len(best)
    while len(left):
        size = min(size, len(rows))
        cosines, found = package.knn(queries[left], rows, size, metric=package.METRIC_INNER_PRODUCT)
        hidden = []
        for which, near, places in zip(left, cosines, found, strict=True):
            fresh = ~np.isin(places, offered[which])
            offered[which] = np.union1d(offered[which], places)
            best[which].offer_cosines(start + places[fresh], near[fresh] + error)
            if size < len(rows) and near[-1] >= best[which].cosine_floor - error:
                hidden.append(which)
        left, size = np.array(hidden, np.int64), 4 * size
