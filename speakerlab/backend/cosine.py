"""Cosine back-end: what is estimated on training embeddings, and scores of trials.

In: ``EmbeddingTable`` and ``TrialList``; out: ``CosineBackend`` (as JSON text) and ``ScoreTable``.
``cosine.score(trials, enroll, test)`` with tables from ``embeddings.prepare``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, Float32Array, ScoreTable, TrialList

KIND = "cosine"
BLOCK_TRIALS = 1024  # two blocks of 192-d rows, 1.5 MB, stay in cache


@dataclass(frozen=True, eq=False)
class CosineBackend:
    """Training statistics of cosine scoring.

    Attributes:
        mean: float32 [D], the mean training embedding, subtracted before length normalisation.
        num_utts: how many embeddings it is the mean of.
        source: where they came from.
    """

    mean: Float32Array
    num_utts: int
    source: str

    @classmethod
    def train(cls, table: EmbeddingTable) -> CosineBackend:
        """Estimate from ``table``."""
        mean = table.matrix.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, len(table.ids), table.name)

    def to_json(self) -> str:
        """Text that ``from_json`` turns back into the same back-end, every float exactly."""
        content = {
            "kind": KIND,
            "source": self.source,
            "num_utts": self.num_utts,
            "embed_dim": len(self.mean),
            "mean": self.mean.tolist(),
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, path: Path) -> CosineBackend:
        """The back-end in ``text``, read from ``path``.

        Raises:
            DataError: the text is not one that ``to_json`` wrote.
        """
        fix = "write it with speakerlab.bin.train_backend"
        try:
            content = json.loads(text)
            mean = np.array(content["mean"], dtype=np.float32)
            backend = cls(mean, int(content["num_utts"]), str(content["source"]))
            intact = content["kind"] == KIND and mean.shape == (content["embed_dim"],)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(path, "not a back-end file", fix) from error
        if not (intact and np.isfinite(mean).all()):
            raise DataError(path, "not an intact cosine back-end", fix)
        return backend


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
