"""Cosine of embeddings, as a scorer of the back-end and for lists of trials.

In: ``EmbeddingTable`` and ``TrialList``; out: ``ScoreTable``.
``cosine.score(trials, enroll, test)`` with tables from ``embeddings.prepare``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, Float64Array, ScoreTable, TrialList

BLOCK_TRIALS = 1024  # two blocks of 192-d rows, 1.5 MB, stay in cache


@dataclass(frozen=True)
class Cosine:
    """Cosine of the angle: rows scaled to length 1, their inner product; how many a mean is of has no say."""

    def enroll_factors(self, matrix: npt.ArrayLike, counts: npt.ArrayLike) -> Float64Array:  # noqa: ARG002
        """Rows of ``matrix`` [M, D] scaled to length 1.

        Raises:
            DataError: a row is zero, which has no direction.
        """
        return self.test_factors(matrix)

    def test_factors(self, matrix: npt.ArrayLike) -> Float64Array:
        """Rows of ``matrix`` [N, D] scaled to length 1.

        Raises:
            DataError: a row is zero, which has no direction.
        """
        rows = np.asarray(matrix, dtype=np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        zero = np.flatnonzero(lengths == 0)
        if len(zero):
            raise DataError("cosine", f"row {zero[0]} is zero, without direction ({len(zero)} such rows)")
        return np.asarray(rows / lengths)

    def describe(self) -> str:
        """What is compared, in a few words."""
        return "cosine"

    @property
    def dim(self) -> None:
        """Any size."""
        return None


def score(trials: TrialList, enroll: EmbeddingTable, test: EmbeddingTable) -> ScoreTable:
    """Cosine of each trial, in [-1, 1] up to rounding.

    Rows are gathered block by block and multiplied pairwise: memory is bounded, and a score depends on its
    two embeddings only, to the last bit. On one core this is as fast as whole matrix products where every
    model meets every test utterance, and faster by orders of magnitude where trials are few.

    Args:
        trials: N trials.
        enroll: embeddings of the enrolment ids, rows of length 1.
        test: embeddings of the test ids, rows of length 1.

    Raises:
        DataError: an id without embedding, or embeddings of different size.
    """
    if enroll.matrix.shape[1] != test.matrix.shape[1]:
        sizes = f"{enroll.matrix.shape[1]}-d but {test.name} has {test.matrix.shape[1]}-d embeddings"
        raise DataError(enroll.name, sizes, "extract both with one model")
    enroll_rows, test_rows = enroll.rows(trials.enroll_ids), test.rows(trials.test_ids)
    scores = np.empty(len(trials), dtype=np.float64)
    for start in range(0, len(trials), BLOCK_TRIALS):
        block = slice(start, start + BLOCK_TRIALS)
        scores[block] = np.einsum(
            "nd,nd->n", enroll.matrix[enroll_rows[block]], test.matrix[test_rows[block]]
        )
    return ScoreTable(trials, scores)
