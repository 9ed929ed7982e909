"""Speaker models of one or several utterances, by a named rule, as one side of the trials.

``side = enrolment.models(enroll_map, table, scorer, "mean-embedding", "enroll.map")`` with lines
``model utt1 utt2 ...``; ``enrolment.utterances(table, scorer)`` where each embedding is a model of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from speakerlab.backend.chain import Scorer
from speakerlab.backend.scoring import Factors, Side
from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable

RULES = {
    "mean-embedding": "the mean of the model's embeddings as the back-end leaves them, length-normalised for "
    "cosine; PLDA is told how many there are and scores by the book",
    "mean-score": "the mean of the scores of its utterances",
    "max-score": "the greatest of the scores of its utterances",
}


def test_side(table: EmbeddingTable, scorer: Scorer, missing: Collection[str] = ()) -> Side:  # noqa: PT028 (no test)
    """The test utterances in ``table``, as the back-end left them; ``missing`` ones are known to lack."""
    return Side(table.ids, scorer.test_factors(table.matrix), table.name, missing=_encoded(missing))


def utterances(table: EmbeddingTable, scorer: Scorer, missing: Collection[str] = ()) -> Side:
    """Models of one utterance: each embedding in ``table`` is one; ``missing`` ones are known to lack."""
    counts = np.ones(len(table.ids), dtype=np.int64)
    factors = scorer.enroll_factors(table.matrix, counts)
    return Side(table.ids, factors, table.name, missing=_encoded(missing))


def _encoded(ids: Collection[str]) -> frozenset[bytes]:
    return frozenset(one.encode() for one in ids)


def models(
    enroll_map: Mapping[str, Sequence[str]],
    table: EmbeddingTable,
    scorer: Scorer,
    rule: str,
    name: str,
    missing: Collection[str] = (),
) -> Side:
    """Models of several utterances.

    The mean of scores is the score of the mean of the factors, because a score is linear in them; only the
    maximum needs each utterance's own.

    Args:
        enroll_map: model id -> ids of its utterances.
        table: their embeddings, as the back-end left them.
        scorer: of the back-end.
        rule: one of ``RULES``.
        name: where ``enroll_map`` comes from, for messages.
        missing: utterances that are known to have no embedding: models do without them, and a model that has
            no other is missing itself.

    Raises:
        DataError: a model without utterances, with one twice, or whose embeddings cancel; an id without
            embedding.
        KeyError: no such rule.
    """
    empty = [model_id for model_id, utt_ids in enroll_map.items() if not utt_ids]
    if empty or not enroll_map:
        raise DataError(name, f"model {empty[0]} has no utterance" if empty else "holds no model")
    twice = [model_id for model_id, utt_ids in enroll_map.items() if len(set(utt_ids)) < len(utt_ids)]
    if twice:
        raise DataError(name, f"model {twice[0]} has an utterance twice", "list each of its utterances once")
    given = enroll_map
    enroll_map = {model_id: [one for one in ids if one not in missing] for model_id, ids in given.items()}
    enroll_map = {model_id: utt_ids for model_id, utt_ids in enroll_map.items() if utt_ids}
    gone = _encoded(given.keys() - enroll_map.keys())
    if not enroll_map:
        raise DataError(name, "every utterance of every model lacks an embedding", "extract them again")
    matrix = table.matrix[table.rows([utt_id for utt_ids in enroll_map.values() for utt_id in utt_ids])]
    sizes = np.array([len(utt_ids) for utt_ids in enroll_map.values()], dtype=np.int64)
    ids, ones = tuple(enroll_map), np.ones(len(matrix), dtype=np.int64)
    if rule == "mean-embedding":
        means = stretch_means(matrix, sizes)
        zero = np.flatnonzero(~means.any(axis=1))
        if len(zero):
            raise DataError(name, f"the embeddings of model {ids[zero[0]]} cancel", "check them for damage")
        return Side(ids, scorer.enroll_factors(means, sizes), name, missing=gone)
    factors = scorer.enroll_factors(matrix, ones)
    if rule == "mean-score":
        return Side(ids, stretch_means(factors, sizes), name, missing=gone)
    if rule == "max-score":
        return Side(ids, factors, name, np.cumsum(sizes) - sizes, gone)
    raise KeyError(rule)


def stretch_means(rows: Factors, sizes: npt.NDArray[np.int64]) -> Factors:
    """Means of consecutive stretches of ``rows`` [R, K], ``sizes`` [M] long, summed in double precision."""
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(rows, starts, axis=0, dtype=np.float64)
    return np.asarray(sums / sizes[:, None], dtype=rows.dtype)
