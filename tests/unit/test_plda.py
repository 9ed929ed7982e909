"""PLDA scores against the likelihood ratio of stacked Gaussians, and estimation against known covariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from speakerlab.backend import estimation
from speakerlab.backend.plda import Plda, from_covariances
from speakerlab.backend.statistics import speaker_statistics
from speakerlab.errors import DataError

DIM = 5


def covariance(rng, dim=DIM, rank=None):
    factors = rng.normal(size=(dim, rank or 2 * dim))
    return factors @ factors.T / dim


def random_plda(seed=0, rank=None, dim=DIM):
    rng = np.random.default_rng(seed)
    within, between = covariance(rng, dim), covariance(rng, dim, rank)
    mean = rng.normal(size=dim)
    plda = from_covariances(mean, within, between, "test")
    if rank:
        plda.psi[rank:] = 0.0
    return plda, mean, within, between


def draw(rng, counts, mean, within, between):
    """Embeddings of len(counts) speakers, and who speaks."""
    speakers = np.repeat(np.arange(len(counts)), counts)
    offsets = rng.multivariate_normal(np.zeros(len(mean)), between, len(counts))
    noise = rng.multivariate_normal(np.zeros(len(mean)), within, len(speakers))
    return mean + offsets[speakers] + noise, [f"s{speaker:05d}" for speaker in speakers]


def joint_log_density(vectors, mean, within, between):
    """Of n embeddings of one speaker: a Gaussian whose blocks are between, on the diagonal plus within."""
    n = len(vectors)
    stacked = np.kron(np.ones((n, n)), between) + np.kron(np.eye(n), within)
    return multivariate_normal(np.tile(mean, n), stacked).logpdf(np.concatenate(vectors))


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("num_enroll", [1, 2, 5])
def test_scores_are_joint_gaussian_likelihood_ratios(num_enroll, rank):
    plda, mean, within, between = random_plda(num_enroll, rank)
    rng = np.random.default_rng(7)
    tests = 2 * rng.normal(size=(4, DIM))
    models = 2 * rng.normal(size=(3, num_enroll, DIM))
    means = models.mean(axis=1)
    scores = plda.enroll_factors(means, [num_enroll] * 3) @ plda.test_factors(tests).T
    expected = [
        [
            joint_log_density([*model, test], mean, within, between)
            - joint_log_density(model, mean, within, between)
            - joint_log_density([test], mean, within, between)
            for test in tests
        ]
        for model in models
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-8, rtol=0)


def test_models_of_different_sizes_in_one_call_score_as_alone():
    plda = random_plda()[0]
    rng = np.random.default_rng(1)
    means, counts, tests = rng.normal(size=(3, DIM)), [1, 4, 9], rng.normal(size=(6, DIM))
    together = plda.enroll_factors(means, counts) @ plda.test_factors(tests).T
    for row, count in enumerate(counts):
        alone = plda.enroll_factors(means[[row]], [count]) @ plda.test_factors(tests[[2]]).T
        assert together[row, 2] == pytest.approx(alone[0, 0], abs=1e-12)


def test_a_pair_scores_the_same_in_both_directions():
    plda = random_plda()[0]
    a, b = np.random.default_rng(2).normal(size=(2, 1, DIM))
    there = plda.enroll_factors(a, [1]) @ plda.test_factors(b).T
    back = plda.enroll_factors(b, [1]) @ plda.test_factors(a).T
    assert there[0, 0] == pytest.approx(back[0, 0], abs=1e-12)


def test_a_scalar_by_hand():
    """Mean 1, within 2, between 6; one enrolment 3, test 5: N((2, 4); [[8, 6], [6, 8]]) against 8, 8."""
    plda = from_covariances(np.array([1.0]), np.array([[2.0]]), np.array([[6.0]]), "test")
    # quadratic forms: (8*4 - 2*6*8 + 8*16) / 28 = 64 / 28, and 4/8 + 16/8 = 5/2; determinants 28 and 64
    expected = -0.5 * (64 / 28 - 2.5) - 0.5 * np.log(28 / 64)
    score = plda.enroll_factors([[3.0]], [1]) @ plda.test_factors([[5.0]]).T
    assert score[0, 0] == pytest.approx(expected, abs=1e-12)


def test_the_model_holds_its_covariances():
    plda, _, within, between = random_plda()
    np.testing.assert_allclose(plda.within, within, atol=1e-12)
    np.testing.assert_allclose(plda.between, between, atol=1e-12)
    assert (np.diff(plda.psi) <= 0).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"psi": np.ones(3)}, "sizes do not fit"),
        ({"psi": np.array([1.0, -0.1])}, "negative between-speaker variance, -0.1"),
        ({"mean": np.array([np.nan, 0])}, "has NaN or Inf"),
        ({"transform": np.array([[1.0, 2.0], [2.0, 4.0]])}, "its transform is singular"),
        ({"length_norm": "unit"}, "no length norm 'unit'; valid: none, kaldi, kaldi-simple"),
    ],
)
def test_a_model_that_is_none_is_refused(edit, message):
    fields = {"mean": np.zeros(2), "transform": np.eye(2), "psi": np.ones(2), **edit}
    with pytest.raises(DataError, match=message):
        Plda(**fields)


def test_bad_enrolment_is_refused():
    plda = random_plda()[0]
    with pytest.raises(DataError, match="a model of 0 enrolment embeddings"):
        plda.enroll_factors(np.zeros((2, DIM)), [1, 0])
    with pytest.raises(DataError, match=r"takes 5-d embeddings, not an array \(2, 4\)"):
        plda.test_factors(np.zeros((2, 4)))
    with pytest.raises(DataError, match="was given embeddings with NaN or Inf"):
        plda.test_factors(np.full((1, DIM), np.nan))


def test_a_singular_within_covariance_is_refused():
    with pytest.raises(DataError, match="the within-speaker covariance is singular"):
        from_covariances(np.zeros(2), np.diag([1.0, 0.0]), np.eye(2), "test")


def relative(estimate, truth):
    return np.linalg.norm(estimate - truth) / np.linalg.norm(truth)


@pytest.fixture(scope="module")
def corpus():
    """1,500 speakers of 1 to 9 embeddings, and the truth about them."""
    rng = np.random.default_rng(0)
    mean, within, between = rng.normal(size=DIM), covariance(rng), covariance(rng)
    matrix, speakers = draw(rng, rng.integers(1, 10, 1500), mean, within, between)
    return matrix, speakers, mean, within, between


ESTIMATORS = {
    "two-covariance": estimation.two_covariance,
    "kaldi": estimation.kaldi,
    "simplified": lambda statistics: estimation.simplified(statistics, 3),
}


def test_the_likelihood_is_that_of_the_joint_gaussian(corpus):
    matrix, speakers, mean, within, between = corpus
    matrix, speakers = matrix[:40], speakers[:40]
    labels = np.array(speakers)
    groups = [matrix[labels == speaker] for speaker in set(speakers)]
    expected = sum(joint_log_density(group, mean, within, between) for group in groups)
    statistics = speaker_statistics(matrix, speakers)
    assert estimation.log_likelihood(statistics, mean, within, between) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("num", [60, 7000])
def test_the_likelihood_rises_with_every_iteration(corpus, name, num):
    estimate = ESTIMATORS[name](speaker_statistics(corpus[0][:num], corpus[1][:num]))
    gains = np.diff(estimate.log_likelihoods)
    assert len(gains) >= 2
    assert (gains > 0).all()
    plda = estimate.plda
    statistics = speaker_statistics(corpus[0][:num], corpus[1][:num])
    final = estimation.log_likelihood(statistics, plda.mean, plda.within, plda.between)
    assert final == pytest.approx(estimate.log_likelihoods[-1], rel=1e-9)


@pytest.mark.parametrize("name", ["two-covariance", "kaldi"])
def test_known_covariances_are_recovered(corpus, name):
    matrix, speakers, mean, within, between = corpus
    plda = ESTIMATORS[name](speaker_statistics(matrix, speakers)).plda
    assert relative(plda.within, within) < 0.05
    assert relative(plda.between, between) < 0.08
    assert np.abs(plda.mean - mean).max() < 0.15  # the speakers' spread over sqrt(1500) is 0.04


def test_a_known_subspace_is_recovered():
    rng = np.random.default_rng(3)
    mean, within, between = np.ones(DIM), covariance(rng), 3 * covariance(rng, rank=2)
    matrix, speakers = draw(rng, rng.integers(1, 10, 1500), mean, within, between)
    plda = estimation.simplified(speaker_statistics(matrix, speakers), 2).plda
    assert (plda.psi > 0).sum() == 2
    assert relative(plda.within, within) < 0.05
    assert relative(plda.between, between) < 0.08


def test_the_maximum_is_one(corpus):
    """Nothing near the estimate is more likely: two covariances, and a subspace of all dimensions."""
    statistics = speaker_statistics(corpus[0][:300], corpus[1][:300])
    plda = estimation.two_covariance(statistics).plda
    best = estimation.log_likelihood(statistics, plda.mean, plda.within, plda.between)
    rng = np.random.default_rng(5)
    for size in (0.3, 0.1, 0.03):
        for _ in range(20):
            bend = np.eye(DIM) + size * rng.normal(size=(DIM, DIM)) / DIM
            mean = plda.mean + size * rng.normal(size=DIM)
            moved = (mean, bend @ plda.within @ bend.T, bend.T @ plda.between @ bend)
            assert estimation.log_likelihood(statistics, *moved) < best
    full = estimation.simplified(statistics, DIM).plda
    assert estimation.log_likelihood(statistics, full.mean, full.within, full.between) == pytest.approx(best)


def test_too_few_iterations_are_said(corpus, monkeypatch, caplog):
    monkeypatch.setattr(estimation, "MAX_ITERS", 2)
    estimation.two_covariance(speaker_statistics(corpus[0][:300], corpus[1][:300]))
    assert "EM of PLDA stopped after 2 iterations, the last gaining" in caplog.text


def kaldi_em(matrix, speakers, num_iters):
    """ivector/plda.cc speaker by speaker, in the words of its comments: covariances after ``num_iters``."""
    groups = [matrix[[s == speaker for s in speakers]] for speaker in sorted(set(speakers))]
    mean = np.mean([group.mean(axis=0) for group in groups], axis=0)
    offsets = sum((group - group.mean(axis=0)).T @ (group - group.mean(axis=0)) for group in groups)
    within, between = np.eye(len(mean)), np.eye(len(mean))
    for _ in range(num_iters):
        within_stats, between_stats = offsets.copy(), np.zeros_like(offsets)
        for group in groups:
            n, m = len(group), group.mean(axis=0) - mean
            mixed = np.linalg.inv(np.linalg.inv(between) + n * np.linalg.inv(within))
            w = mixed @ (n * np.linalg.inv(within)) @ m
            between_stats += mixed + np.outer(w, w)
            within_stats += n * (mixed + np.outer(m - w, m - w))
        within, between = within_stats / len(matrix), between_stats / len(groups)
    return mean, within, between


def test_kaldi_estimates_are_kaldis(corpus):
    matrix, speakers = corpus[0][:200], corpus[1][:200]
    plda = estimation.kaldi(speaker_statistics(matrix, speakers)).plda
    mean, within, between = kaldi_em(matrix, speakers, 10)
    np.testing.assert_allclose(plda.mean, mean, atol=1e-12)
    np.testing.assert_allclose(plda.within, within, atol=1e-10)
    np.testing.assert_allclose(plda.between, between, atol=1e-10)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_order_of_the_utterances_does_not_matter(corpus, name):
    matrix, speakers = corpus[0][:400], corpus[1][:400]
    order = np.random.default_rng(6).permutation(400)
    first = ESTIMATORS[name](speaker_statistics(matrix, speakers)).plda
    again = ESTIMATORS[name](speaker_statistics(matrix[order], [speakers[row] for row in order])).plda
    np.testing.assert_allclose(again.within, first.within, atol=1e-9)
    np.testing.assert_allclose(again.between, first.between, atol=1e-9)
    np.testing.assert_allclose(again.psi, first.psi, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scale_of_the_embeddings_does_not_matter(corpus, scale):
    matrix, speakers = corpus[0][:400], corpus[1][:400]
    first = estimation.two_covariance(speaker_statistics(matrix, speakers)).plda
    scaled = estimation.two_covariance(speaker_statistics(scale * matrix, speakers)).plda
    np.testing.assert_allclose(scaled.psi, first.psi, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scale * scaled.transform, first.transform, atol=1e-6)


def test_fewer_speakers_than_dimensions():
    """Three speakers span two directions; in the others they do not differ."""
    rng = np.random.default_rng(8)
    matrix, speakers = draw(rng, [20] * 3, np.zeros(DIM), np.eye(DIM), 25 * np.eye(DIM))
    psi = estimation.two_covariance(speaker_statistics(matrix, speakers)).plda.psi
    assert (psi[:2] > 1).all()
    assert (psi[2:] < 1e-6).all()


def test_speakers_of_one_utterance_inform_the_spread_of_speakers(corpus):
    matrix, speakers, *_ = corpus
    single = [row for row, speaker in enumerate(speakers) if speakers.count(speaker) == 1]
    several = [row for row in range(600) if row not in single]
    some = estimation.two_covariance(speaker_statistics(matrix[several], [speakers[r] for r in several]))
    rows = [*several, *single]
    more = estimation.two_covariance(speaker_statistics(matrix[rows], [speakers[r] for r in rows]))
    truth = corpus[4]
    assert relative(more.plda.between, truth) < relative(some.plda.between, truth)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m, _: (m[:30], ["one"] * 30), "are of one speaker"),
        (
            lambda m, _: (m[:30], [str(row) for row in range(30)]),
            "30 utterances of 30 speakers do not determine",
        ),
        (lambda m, s: (m[:6], s[:6]), "do not determine the within-speaker covariance of 5-d"),
        (lambda m, s: (np.hstack([m[:90, :4], m[:90, :1]]), s[:90]), "they vary in 4 of 5 dimensions only"),
        (lambda m, s: (np.where(m == m[3], np.nan, m), s), "have NaN or Inf"),
        (lambda m, s: (m, s[1:]), "speakers for an array"),
        (lambda m, _: (m[:0], []), "0 speakers for an array"),
    ],
)
def test_data_that_do_not_determine_a_model_are_refused(corpus, name, edit, message):
    with pytest.raises(DataError, match=f"^training embeddings: .*{message}"):
        ESTIMATORS[name](speaker_statistics(*edit(corpus[0], corpus[1])))


@pytest.mark.parametrize("rank", [0, 4, 6])
def test_a_subspace_that_speakers_do_not_span_is_refused(rank):
    rng = np.random.default_rng(9)
    matrix, speakers = draw(rng, [20] * 4, np.zeros(DIM), np.eye(DIM), np.eye(DIM))
    with pytest.raises(DataError, match=f"do not give a speaker subspace of {rank}; 1 to 3 is possible"):
        estimation.simplified(speaker_statistics(matrix, speakers), rank)
