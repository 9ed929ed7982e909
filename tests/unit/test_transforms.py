"""Whitening, LDA, WCCN and length normalisation against their definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from speakerlab.backend import transforms
from speakerlab.backend.statistics import speaker_statistics
from speakerlab.backend.transforms import LengthNorm
from speakerlab.errors import DataError

DIM, NUM_SPEAKERS = 6, 12


@pytest.fixture
def corpus():
    """Embeddings of twelve speakers, four to nine each, with correlated dimensions."""
    rng = np.random.default_rng(0)
    counts = rng.integers(4, 10, NUM_SPEAKERS)
    labels = np.repeat([f"s{number}" for number in range(NUM_SPEAKERS)], counts)
    centres = np.repeat(rng.normal(size=(NUM_SPEAKERS, DIM)), counts, axis=0)
    mix = rng.normal(size=(DIM, DIM))
    return 3 + (centres + rng.normal(size=centres.shape)) @ mix, labels


def within(matrix, labels):
    """Pooled covariance around the speakers' means, by a loop."""
    groups = [matrix[labels == speaker] for speaker in set(labels)]
    return sum((g - g.mean(axis=0)).T @ (g - g.mean(axis=0)) for g in groups) / len(matrix)


def test_statistics_add_up(corpus):
    matrix, labels = corpus
    statistics = speaker_statistics(matrix, labels)
    np.testing.assert_allclose(statistics.within, within(matrix, labels), atol=1e-12)
    np.testing.assert_allclose(
        statistics.within + statistics.between, np.cov(matrix.T, bias=True), atol=1e-12
    )
    np.testing.assert_allclose(statistics.mean, matrix.mean(axis=0), atol=1e-12)
    assert statistics.num_utts == len(matrix)


def test_projected_statistics_are_those_of_projected_embeddings(corpus):
    matrix, labels = corpus
    projection = np.random.default_rng(1).normal(size=(3, DIM))
    moved = speaker_statistics(matrix, labels).projected(projection)
    direct = speaker_statistics(matrix @ projection.T, labels)
    np.testing.assert_allclose(moved.means, direct.means, atol=1e-12)
    np.testing.assert_allclose(moved.scatter, direct.scatter, atol=1e-10)


@pytest.mark.parametrize("whiten", [transforms.whiten_pca, transforms.whiten_zca])
def test_whitened_embeddings_have_unit_covariance(corpus, whiten):
    matrix, labels = corpus
    done = whiten(speaker_statistics(matrix, labels)).apply(matrix)
    np.testing.assert_allclose(np.cov(done.T, bias=True), np.eye(DIM), atol=1e-10)


def test_pca_sorts_and_zca_is_symmetric(corpus):
    matrix, labels = corpus
    statistics = speaker_statistics(matrix, labels)
    pca, zca = transforms.whiten_pca(statistics).matrix, transforms.whiten_zca(statistics).matrix
    assert (np.diff(np.linalg.norm(pca, axis=1)) > 0).all()  # the greatest variance is divided the most
    np.testing.assert_allclose(zca, zca.T, atol=1e-12)


def test_directions_without_variance_are_dropped_by_pca_and_zeroed_by_zca(corpus):
    matrix, labels = corpus
    matrix = np.hstack([matrix, matrix[:, :1] - matrix[:, 1:2]])
    statistics = speaker_statistics(matrix, labels)
    pca = transforms.whiten_pca(statistics)
    done = pca.apply(matrix)
    np.testing.assert_allclose(np.cov(done.T, bias=True), np.eye(DIM), atol=1e-8)
    assert pca.describe() == "whitened (PCA) to 6"
    variances = np.linalg.eigvalsh(np.cov(transforms.whiten_zca(statistics).apply(matrix).T, bias=True))
    np.testing.assert_allclose(variances, [0, *[1] * DIM], atol=1e-8)


def test_embeddings_that_are_all_the_same_are_refused():
    with pytest.raises(DataError, match="training embeddings: do not vary"):
        transforms.whiten_pca(speaker_statistics(np.ones((8, 3)), list("aabbccdd")))


def test_lda_is_that_of_scikit_learn(corpus):
    matrix, labels = corpus
    projection = transforms.lda(speaker_statistics(matrix, labels), 3)
    ours = projection.apply(matrix - matrix.mean(axis=0))
    peer = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit(matrix, labels)
    theirs = (matrix - matrix.mean(axis=0)) @ peer.scalings_[:, :3]
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(within(ours, labels), np.eye(3), atol=1e-10)
    assert projection.describe() == "LDA to 3"


@pytest.mark.parametrize("dim", [-1, 0, 7])
def test_lda_to_too_many_dimensions_is_refused(corpus, dim):
    with pytest.raises(DataError, match=f"12 speakers and 6 dimensions do not give an LDA to {dim}; 1 to 6"):
        transforms.lda(speaker_statistics(*corpus), dim)


def test_lda_needs_more_speakers_than_it_leaves_dimensions(corpus):
    matrix, labels = corpus
    few = np.isin(labels, ["s0", "s1", "s2"])
    with pytest.raises(DataError, match="3 speakers and 6 dimensions do not give an LDA to 3; 1 to 2"):
        transforms.lda(speaker_statistics(matrix[few], labels[few]), 3)


def test_wccn_makes_the_within_covariance_unit(corpus):
    matrix, labels = corpus
    projection = transforms.wccn(speaker_statistics(matrix, labels))
    np.testing.assert_allclose(within(projection.apply(matrix), labels), np.eye(DIM), atol=1e-10)
    inverse = np.linalg.inv(within(matrix, labels))  # B B^T, B lower triangular
    np.testing.assert_allclose(projection.matrix.T @ projection.matrix, inverse, atol=1e-10)
    np.testing.assert_allclose(projection.matrix, np.triu(projection.matrix), atol=0)


def test_wccn_of_single_utterances_is_refused(corpus):
    with pytest.raises(DataError, match="do not determine the within-speaker covariance"):
        transforms.wccn(speaker_statistics(corpus[0], [str(row) for row in range(len(corpus[0]))]))


def test_lengths_become_what_is_asked_for():
    done = LengthNorm(3.0).apply(np.array([[3.0, 4.0], [0.0, -0.1], [0.0, 0.0]]))
    np.testing.assert_allclose(done, [[1.8, 2.4], [0, -3], [0, 0]], atol=1e-12)
