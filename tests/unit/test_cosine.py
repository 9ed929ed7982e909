"""Cosine back-end against scipy's cosine distance and hand-computed speaker models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cosine as cosine_distance

from speakerlab.backend import cosine
from speakerlab.backend.cosine import Cosine
from speakerlab.backend.embeddings import prepare, speaker_models
from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, TrialList


def random_table(num, dim=16, seed=0):
    matrix = np.random.default_rng(seed).normal(0.5, 1, (num, dim)).astype(np.float32)
    return EmbeddingTable(tuple(f"u{row}" for row in range(num)), matrix, "embeddings.scp")


def trial_list(pairs):
    return TrialList([a for a, _ in pairs], [b for _, b in pairs], np.full(len(pairs), -1, dtype=np.int8))


def test_scores_are_cosines_after_the_mean():
    table = random_table(30)
    rng = np.random.default_rng(1)
    pairs = [(f"u{a}", f"u{b}") for a, b in rng.integers(30, size=(3000, 2))]  # three blocks
    mean = table.matrix.mean(axis=0)
    prepared = prepare(table, mean)
    scored = cosine.score(trial_list(pairs), prepared, prepared)
    centred = dict(zip(table.ids, table.matrix.astype(np.float64) - mean, strict=True))
    expected = [1 - cosine_distance(centred[a], centred[b]) for a, b in pairs]
    assert scored.scores.dtype == np.float64
    np.testing.assert_allclose(scored.scores, expected, atol=1e-6)


def test_a_score_does_not_depend_on_the_other_trials():
    table = prepare(random_table(50, dim=192))
    pairs = [(f"u{a}", f"u{b}") for a in range(50) for b in range(50)]
    together = cosine.score(trial_list(pairs), table, table).scores
    alone = [cosine.score(trial_list([pair]), table, table).scores[0] for pair in pairs[::97]]
    assert together[::97].tolist() == alone


def test_enrolment_and_test_tables_may_differ():
    enroll = EmbeddingTable(("m",), np.array([[1, 0]], dtype=np.float32))
    test = EmbeddingTable(("u", "v"), np.array([[1, 0], [0, 1]], dtype=np.float32))
    assert cosine.score(trial_list([("m", "v"), ("m", "u")]), enroll, test).scores.tolist() == [0, 1]


def test_factors_give_the_cosine():
    rng = np.random.default_rng(2)
    models, tests = rng.normal(size=(3, 7)), rng.normal(size=(4, 7))
    scores = Cosine().enroll_factors(models, [1, 2, 9]) @ Cosine().test_factors(tests).T
    expected = [[1 - cosine_distance(a, b) for b in tests] for a in models]
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_a_row_without_direction_has_no_cosine():
    with pytest.raises(DataError, match=r"row 1 is zero, without direction \(1 such rows\)"):
        Cosine().enroll_factors([[1, 0], [0, 0]], [1, 2])


def test_prepared_rows_have_length_one():
    np.testing.assert_allclose(np.linalg.norm(prepare(random_table(20)).matrix, axis=1), 1, atol=1e-6)


def test_a_zero_embedding_is_named():
    matrix = np.array([[1, 0], [0, 0], [0, 0]], dtype=np.float32)
    with pytest.raises(DataError, match=r"scp: b is zero \(2 such embeddings\)"):
        prepare(EmbeddingTable(("a", "b", "c"), matrix, "scp"))


def test_an_embedding_equal_to_the_mean_is_named():
    table = EmbeddingTable(("a", "b"), np.array([[1, 0], [1, 2]], dtype=np.float32), "scp")
    with pytest.raises(DataError, match="scp: b is zero after the mean is subtracted"):
        prepare(table, np.array([1, 2], dtype=np.float32))


def test_a_mean_of_another_size_is_refused():
    with pytest.raises(DataError, match="16-d embeddings but the mean has 3 values"):
        prepare(random_table(2), np.zeros(3, dtype=np.float32))


def test_embeddings_of_different_models_are_refused():
    with pytest.raises(DataError, match="8-d but embeddings.scp has 16-d"):
        cosine.score(trial_list([("u0", "u1")]), random_table(2, dim=8), random_table(2))


def test_an_unknown_id_is_named():
    with pytest.raises(DataError, match="no embedding for u9"):
        cosine.score(trial_list([("u0", "u1"), ("u9", "u1")]), random_table(2), random_table(2))


def test_a_model_is_the_mean_of_normalised_embeddings():
    """A loud recording must not outvote a quiet one: lengths 10 and 1 count the same."""
    table = EmbeddingTable(("a", "b", "c"), np.array([[10, 0], [0, 1], [0, -3]], dtype=np.float32))
    models = speaker_models({"m": ["a", "b"], "n": ["c"]}, prepare(table), "enroll.map")
    assert models.ids == ("m", "n")
    np.testing.assert_allclose(models.matrix, [[0.5**0.5, 0.5**0.5], [0, -1]], atol=1e-7)


@pytest.mark.parametrize(
    ("enroll_map", "message"),
    [
        ({}, "enroll.map: holds no model"),
        ({"m": ["u0"], "n": []}, "enroll.map: model n has no utterance"),
        ({"m": ["u0", "u7"]}, "no embedding for u7"),
    ],
)
def test_bad_enroll_maps_are_refused(enroll_map, message):
    with pytest.raises(DataError, match=message):
        speaker_models(enroll_map, random_table(3), "enroll.map")
