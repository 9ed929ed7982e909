"""PLDA whatever the model: scores do not depend on coordinates or on how enrolment is presented."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerlab.backend.plda import from_covariances

MODELS = settings(max_examples=60, deadline=None)
seeds, dims = st.integers(0, 2**32 - 1), st.integers(1, 6)


def draw(seed, dim):
    """A generator, and a mean with two covariances that are not near singular."""
    rng = np.random.default_rng(seed)
    within, between = (np.cov(rng.normal(size=(dim, 4 * dim + 2))).reshape(dim, dim) for _ in range(2))
    return rng, rng.normal(size=dim), within + 0.1 * np.eye(dim), between


def scores(plda, models, counts, tests):
    return plda.enroll_factors(models, counts) @ plda.test_factors(tests).T


@MODELS
@given(seeds, dims)
def test_coordinates_do_not_matter(seed, dim):
    """Embeddings moved by x -> A x + b, and the model with them, score the same."""
    rng, mean, within, between = draw(seed, dim)
    matrix, offset = np.eye(dim) + rng.uniform(-0.5, 0.5, size=(dim, dim)) / dim, rng.normal(size=dim)
    plda = from_covariances(mean, within, between, "test")
    moved = from_covariances(
        matrix @ mean + offset, matrix @ within @ matrix.T, matrix @ between @ matrix.T, "test"
    )
    models, tests, counts = rng.normal(size=(3, dim)), rng.normal(size=(4, dim)), [1, 2, 7]
    there = scores(moved, models @ matrix.T + offset, counts, tests @ matrix.T + offset)
    np.testing.assert_allclose(there, scores(plda, models, counts, tests), rtol=1e-7, atol=1e-7)


@MODELS
@given(seeds, dims, st.integers(2, 30))
def test_evidence_adds_up(seed, dim, num):
    """The chain rule of probability: a test after all utterances, or the last utterance after the test."""
    rng, mean, within, between = draw(seed, dim)
    plda = from_covariances(mean, within, between, "test")
    vectors, test = rng.normal(size=(num, dim)), rng.normal(size=(1, dim))
    # llr(all; t) - llr(all but the last; t) = llr(rest and t; last) - llr(rest; last)
    rest, last = vectors[:-1], vectors[-1:]
    left = scores(plda, [vectors.mean(axis=0)], [num], test) - scores(
        plda, [rest.mean(axis=0)], [num - 1], test
    )
    with_test = np.vstack([rest, test]).mean(axis=0)
    right = scores(plda, [with_test], [num], last) - scores(plda, [rest.mean(axis=0)], [num - 1], last)
    np.testing.assert_allclose(left, right, rtol=1e-7, atol=1e-7)


@MODELS
@given(seeds, dims)
def test_speakers_that_do_not_differ_score_nothing(seed, dim):
    rng, mean, within, _ = draw(seed, dim)
    plda = from_covariances(mean, within, np.zeros((dim, dim)), "test")
    assert (
        scores(plda, rng.normal(size=(2, dim)), [1, 3], rng.normal(size=(3, dim))).tolist() == [[0.0] * 3] * 2
    )
