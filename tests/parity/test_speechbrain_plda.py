"""SpeechBrain's PLDA (from SIDEKIT): the same maximum of the likelihood, and the same scores."""

import numpy as np
import peers
import pytest

from speakerlab.backend.estimation import simplified
from speakerlab.backend.plda import from_covariances
from speakerlab.backend.statistics import speaker_statistics

DIM, RANK, NUM_SPEAKERS, NUM_UTTS = 8, 3, 300, 5


@pytest.fixture(scope="module")
def peer():
    return peers.module("speechbrain.processing.PLDA_LDA")


@pytest.fixture(scope="module")
def corpus():
    """Embeddings whose speakers differ in three directions, five of each: its fixed mean is then ours."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(NUM_SPEAKERS, RANK)) @ rng.normal(size=(RANK, DIM))
    noise = rng.normal(size=(NUM_SPEAKERS * NUM_UTTS, DIM)) @ rng.normal(size=(DIM, DIM))
    speakers = [f"s{number:03d}" for number in range(NUM_SPEAKERS)]
    return np.repeat(centres, NUM_UTTS, axis=0) + noise + 2, np.repeat(speakers, NUM_UTTS)


def statistics_of(peer, matrix, models):
    """Its container: each row an utterance of the model named."""
    segments = np.array([f"u{row}" for row in range(len(matrix))], dtype="|O")
    nothing = np.array([None] * len(matrix))
    return peer.StatObject_SB(
        modelset=np.array(models, dtype="|O"),
        segset=segments,
        start=nothing,
        stop=nothing,
        stat0=np.ones((len(matrix), 1)),
        stat1=matrix.copy(),
    )


def test_both_find_the_same_model(peer, corpus):
    matrix, speakers = corpus
    theirs = peer.PLDA(rank_f=RANK, nb_iter=200)
    theirs.plda(statistics_of(peer, matrix, speakers))
    ours = simplified(speaker_statistics(matrix, speakers), RANK).plda
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-3)
    np.testing.assert_allclose(ours.within, theirs.Sigma, atol=2e-3 * np.abs(theirs.Sigma).max())
    between = theirs.F @ theirs.F.T
    np.testing.assert_allclose(ours.between, between, atol=2e-3 * np.abs(between).max())


def test_both_score_alike(peer, corpus):
    rng = np.random.default_rng(1)
    factors, mean = rng.normal(size=(DIM, RANK)), rng.normal(size=DIM)
    within = np.cov(corpus[0].T)
    enroll, test = rng.normal(size=(4, DIM)), rng.normal(size=(6, DIM))
    enroll_ids, test_ids = [f"u{row}" for row in range(4)], [f"u{row}" for row in range(6)]
    ndx = peer.Ndx(models=np.array(enroll_ids, dtype="|O"), testsegs=np.array(test_ids, dtype="|O"))
    theirs = peer.fast_PLDA_scoring(
        statistics_of(peer, enroll, enroll_ids),
        statistics_of(peer, test, test_ids),
        ndx,
        mean,
        factors,
        within,
    )
    plda = from_covariances(mean, within, factors @ factors.T, "simplified")
    ours = plda.enroll_factors(enroll, np.ones(4)) @ plda.test_factors(test).T
    order = [list(theirs.modelset).index(name) for name in enroll_ids]
    columns = [list(theirs.segset).index(name) for name in test_ids]
    np.testing.assert_allclose(ours, theirs.scoremat[order][:, columns], atol=1e-8)
