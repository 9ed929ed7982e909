"""Embedding tables made ready for scoring: centring, length normalisation, speaker models.

In: ``EmbeddingTable``, an enroll map; out: ``EmbeddingTable`` with rows of length 1.
``models = embeddings.speaker_models(enroll_map, embeddings.prepare(table, mean), "enroll.map")``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, Float32Array


def prepare(table: EmbeddingTable, mean: Float32Array | None = None) -> EmbeddingTable:
    """Subtract ``mean`` [D] if there is one, then scale each row to length 1.

    Raises:
        DataError: ``mean`` has another size; a row is zero, which has no direction.
    """
    matrix = table.matrix
    if mean is not None:
        if mean.shape != matrix.shape[1:]:
            raise DataError(table.name, f"{matrix.shape[1]}-d embeddings but the mean has {mean.size} values")
        matrix = matrix - mean
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    zero = np.flatnonzero(lengths == 0)
    if len(zero):
        raise DataError(
            table.name,
            f"{table.ids[zero[0]]} is zero{'' if mean is None else ' after the mean is subtracted'} "
            f"({len(zero)} such embeddings)",
        )
    return EmbeddingTable(table.ids, matrix / lengths, table.name)


def speaker_models(
    enroll_map: Mapping[str, Sequence[str]], table: EmbeddingTable, name: str
) -> EmbeddingTable:
    """One row per model: the mean of its utterances' length-normalised embeddings, of length 1 again.

    Args:
        enroll_map: model id -> ids of its utterances.
        table: their embeddings, as ``prepare`` returns them.
        name: where ``enroll_map`` comes from, for messages.

    Raises:
        DataError: a model without utterances, an id without embedding, or embeddings of a model that cancel.
    """
    empty = [model_id for model_id, utt_ids in enroll_map.items() if not utt_ids]
    if empty or not enroll_map:
        raise DataError(name, f"model {empty[0]} has no utterance" if empty else "holds no model")
    rows = table.rows([utt_id for utt_ids in enroll_map.values() for utt_id in utt_ids])
    starts = np.cumsum([0, *map(len, enroll_map.values())])[:-1]
    sums = np.add.reduceat(table.matrix[rows], starts, axis=0)  # its direction is that of the mean
    return prepare(EmbeddingTable(tuple(enroll_map), sums, name))
