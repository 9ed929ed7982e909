"""Scores of trials as inner products in blocks, whatever the scorer: cosine, PLDA, ... are bilinear forms.

In: a ``Side`` of enrolment models, one of test utterances, row numbers of the trials; out: scores.
``scorer = TrialScorer(enroll, test); scorer.score(trials)``; ``scorer.stream(path, scratch)`` for any length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from speakerlab.data.pairs import PairLedger
from speakerlab.data.trials import TrialBlock, repeated_pair, trial_blocks
from speakerlab.errors import DataError
from speakerlab.types import Float64Array, ScoreTable, TrialList

Factors = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.integer[Any]]

BLOCK_TRIALS = 1 << 18  # scored together; what bounds the memory
# A cell of a matrix product costs a fortieth of a trial scored alone, whose two rows must be fetched first.
DENSE_CELLS = 24  # cells of the product for each trial that is wanted: up to here the product is the faster
_PAIRWISE_ROWS = 256  # two blocks of 192-d rows, 0.4 MB, stay in cache
# numpy 2 calls BLAS for each row; before, the same 15 % slower
_inner_products = np.vecdot if hasattr(np, "vecdot") else partial(np.einsum, "nk,nk->n")


class Normaliser(Protocol):
    """What turns scores into normalised scores, given the rows of their models and test utterances."""

    def __call__(self, scores: Float64Array, enroll_rows: Rows, test_rows: Rows) -> Float64Array:
        """Normalised scores, float64 [n]."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the trials.

    Attributes:
        ids: M ids of models or utterances, each once.
        factors: [R, K], float32 or float64, finite; a score is the inner product of two such rows.
        name: where they come from, for messages.
        starts: None where there is a row for each id; else int64 [M], the first row of each id, whose rows
            reach to the next one's: its score is the maximum over them.
        missing: ids, as a trial list has them, that are known to have no embedding: ``TrialScorer.stream``
            leaves their trials out.
    """

    ids: tuple[str, ...]
    factors: Factors
    name: str
    starts: npt.NDArray[np.int64] | None = None
    missing: frozenset[bytes] = frozenset()

    @cached_property
    def index(self) -> dict[bytes, int]:
        """Number of each id, as a trial list has it."""
        return {name.encode(): row for row, name in enumerate(self.ids)}

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """How many rows each id has, int64 [M]."""
        if self.starts is None:
            return np.ones(len(self.ids), dtype=np.int64)
        return np.diff(self.starts, append=len(self.factors))


def products(enroll: Factors, test: Factors, enroll_rows: Rows, test_rows: Rows) -> Float64Array:
    """Inner products ``enroll[enroll_rows] . test[test_rows]``, float64 [n], in the precision of the factors.

    Block by block, the rows that occur are multiplied as matrices where the trials fill enough of the
    product, and pair by pair where they do not. Which of the two, and with it the order of additions, depends
    on the other trials of the block: float32 rows of length 1 and 192 numbers give scores that differ by up
    to 5e-7 then, float64 ones by 1e-15. The same list gives the same scores, to the last bit, every time.

    Args:
        enroll: [M, K].
        test: [N, K].
        enroll_rows: n row numbers.
        test_rows: n row numbers.
    """
    scores = np.empty(len(enroll_rows), dtype=np.float64)
    for start in range(0, len(scores), BLOCK_TRIALS):
        block = slice(start, start + BLOCK_TRIALS)
        left, left_rows = _occurring(enroll, enroll_rows[block])
        right, right_rows = _occurring(test, test_rows[block])
        if len(left) * len(right) <= DENSE_CELLS * len(left_rows):
            cells = enroll[left] @ test[right].T
            scores[block] = cells.ravel().take(left_rows * len(right) + right_rows)
        else:
            _pairwise(enroll, test, enroll_rows[block], test_rows[block], scores[block])
    return scores


def _occurring(factors: Factors, rows: Rows) -> tuple[Rows, Rows]:
    """The distinct ``rows`` in order, and ``rows`` as places among them."""
    occurs = np.zeros(len(factors), dtype=bool)
    occurs[rows] = True
    distinct = np.flatnonzero(occurs)
    places = np.empty(len(factors), dtype=np.int64)
    places[distinct] = np.arange(len(distinct))
    return distinct, places[rows]


def _pairwise(enroll: Factors, test: Factors, enroll_rows: Rows, test_rows: Rows, out: Float64Array) -> None:
    left = np.empty((_PAIRWISE_ROWS, enroll.shape[1]), dtype=enroll.dtype)
    right = np.empty((_PAIRWISE_ROWS, test.shape[1]), dtype=test.dtype)
    for start in range(0, len(out), _PAIRWISE_ROWS):
        block = slice(start, start + _PAIRWISE_ROWS)
        size = len(out[block])
        enroll.take(enroll_rows[block], axis=0, out=left[:size], mode="clip")  # any other mode copies twice
        test.take(test_rows[block], axis=0, out=right[:size], mode="clip")
        out[block] = _inner_products(left[:size], right[:size])


class ScoredBlock(NamedTuple):
    """Consecutive trials of a list with their scores, float64 [n]."""

    enroll_ids: Sequence[bytes]
    test_ids: Sequence[bytes]
    scores: Float64Array


@dataclass(frozen=True, eq=False)
class TrialScorer:
    """Scores trials between two sides.

    Attributes:
        enroll: the models.
        test: the test utterances; its ``starts`` is None.
        norm: applied to the scores, if there is one.

    Raises:
        DataError: factors of different size.
    """

    enroll: Side
    test: Side
    norm: Normaliser | None = None

    def __post_init__(self) -> None:
        sizes = self.enroll.factors.shape[1], self.test.factors.shape[1]
        if sizes[0] != sizes[1]:
            why = f"{sizes[0]}-d but {self.test.name} has {sizes[1]}-d embeddings"
            raise DataError(self.enroll.name, why, "extract both with one model")

    def score_rows(self, enroll_rows: Rows, test_rows: Rows) -> Float64Array:
        """Scores of n pairs of an enrolment and a test number, float64 [n]."""
        if self.enroll.starts is None:
            scores = products(self.enroll.factors, self.test.factors, enroll_rows, test_rows)
        else:
            scores = self._greatest(self.enroll.starts, enroll_rows, test_rows)
        return scores if self.norm is None else self.norm(scores, enroll_rows, test_rows)

    def _greatest(self, starts: npt.NDArray[np.int64], enroll_rows: Rows, test_rows: Rows) -> Float64Array:
        scores = np.empty(len(enroll_rows), dtype=np.float64)
        step = max(1, BLOCK_TRIALS // int(self.enroll.sizes.max()))
        for start in range(0, len(scores), step):
            block = slice(start, start + step)
            sizes = self.enroll.sizes[enroll_rows[block]]
            firsts = np.cumsum(sizes) - sizes
            rows = np.repeat(starts[enroll_rows[block]] - firsts, sizes) + np.arange(sizes.sum())
            each = products(self.enroll.factors, self.test.factors, rows, np.repeat(test_rows[block], sizes))
            scores[block] = np.maximum.reduceat(each, firsts)
        return scores

    def score(self, trials: TrialList) -> ScoreTable:
        """Scores of a list in memory.

        Raises:
            DataError: an id without embedding.
        """
        enroll_rows = _rows(self.enroll, [name.encode() for name in trials.enroll_ids], trials.name)
        test_rows = _rows(self.test, [name.encode() for name in trials.test_ids], trials.name)
        return ScoreTable(trials, self.score_rows(enroll_rows, test_rows))

    def stream(self, path: Path, scratch: Path) -> Iterator[ScoredBlock]:
        """Scores of the trial list ``path``, which is read and held a block at a time.

        Args:
            path: the list.
            scratch: folder for the temporary file that a list of more than 8 million pairs needs, to find
                those that come twice.

        Raises:
            DataError: a bad line, an id without embedding; after the last block, a pair that is there twice.
        """
        ledger = PairLedger(scratch)
        blocks = (_without(block, self.enroll.missing, self.test.missing) for block in trial_blocks(path))
        for block in _batches(blocks):
            enroll_rows = _rows(self.enroll, block.enroll_ids, str(path), block.lines)
            test_rows = _rows(self.test, block.test_ids, str(path), block.lines)
            ledger.add(enroll_rows, test_rows)
            yield ScoredBlock(block.enroll_ids, block.test_ids, self.score_rows(enroll_rows, test_rows))
        repeated = ledger.repeated()
        if repeated:
            raise repeated_pair(path, self.enroll.ids[repeated[0]], self.test.ids[repeated[1]])


def _without(block: TrialBlock, enroll: frozenset[bytes], test: frozenset[bytes]) -> TrialBlock:
    """``block`` without the trials of the missing ids of either side."""
    if enroll.isdisjoint(block.enroll_ids) and test.isdisjoint(block.test_ids):
        return block
    pairs = enumerate(zip(block.enroll_ids, block.test_ids, strict=True))
    kept = [place for place, pair in pairs if pair[0] not in enroll and pair[1] not in test]
    enroll_ids, test_ids = ([side[place] for place in kept] for side in (block.enroll_ids, block.test_ids))
    return TrialBlock(enroll_ids, test_ids, block.labels[kept], block.lines[kept])


def _batches(blocks: Iterable[TrialBlock]) -> Iterator[TrialBlock]:
    """The same trials, about ``BLOCK_TRIALS`` at a time."""
    waiting: list[TrialBlock] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(part.lines) for part in waiting) >= BLOCK_TRIALS:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[TrialBlock]) -> TrialBlock:
    return TrialBlock(
        list(itertools.chain.from_iterable(part.enroll_ids for part in parts)),
        list(itertools.chain.from_iterable(part.test_ids for part in parts)),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.lines for part in parts]),
    )


def _rows(
    side: Side, ids: Sequence[bytes], name: str, lines: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int32]:
    """Numbers of ``ids``, which ``name`` lists, on ``lines`` if it is a file."""
    try:
        return np.fromiter(map(side.index.__getitem__, ids), np.int32, len(ids))
    except KeyError:
        place = next(place for place, i in enumerate(ids) if i not in side.index)
        why = f"no embedding for '{ids[place].decode()}' in {side.name}"
        fix = "extract embeddings of every id in the trials; a model needs a line of the enroll map"
        raise DataError(name, why, fix, None if lines is None else int(lines[place])) from None
