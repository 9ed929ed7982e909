"""Any trials, in any order and grouping, have the scores of their pairs; score files lose nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerlab.backend import scoring
from speakerlab.backend.scoring import products
from speakerlab.io import scores as score_files
from speakerlab.types import ScoreTable, TrialList

FEW = settings(max_examples=60, deadline=None)
MATRIX = np.random.default_rng(0).standard_normal((12, 9))
PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=200)
IDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" #\ufeff"), min_size=1, max_size=6
)


@FEW
@given(PAIRS, st.integers(1, 50), st.sampled_from([0, 1, 24, 10**6]))
def test_scores_are_those_of_the_pairs(pairs, block, dense_cells):
    left, right = np.array(pairs).T
    with mock.patch.multiple(scoring, BLOCK_TRIALS=block, DENSE_CELLS=dense_cells):
        found = products(MATRIX, MATRIX, left, right)
    np.testing.assert_allclose(found, [MATRIX[a] @ MATRIX[b] for a, b in pairs], rtol=0, atol=1e-13)


@FEW
@given(
    st.dictionaries(st.tuples(IDS, IDS), st.floats(-1e6, 1e6), min_size=1), st.randoms(use_true_random=False)
)
def test_written_scores_read_back_in_any_order(values, random):
    pairs = list(values)
    random.shuffle(pairs)
    labels = np.full(len(pairs), -1, dtype=np.int8)
    lists = [TrialList([a for a, _ in some], [b for _, b in some], labels) for some in (list(values), pairs)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scores")
        score_files.write(path, ScoreTable(lists[0], np.array(list(values.values()))))
        found = score_files.read(path, lists[1]).scores
    np.testing.assert_allclose(found, [values[pair] for pair in pairs], rtol=3e-16, atol=5.001e-9)
