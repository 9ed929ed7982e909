"""Normalisation of a domain against loops that follow its definitions, and false acceptance of strangers."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from speakerlab.backend import domain_norm
from speakerlab.backend.domain_norm import DomainNorm, Impostors

DIM = 24
TARGET_FA = 0.01


def world(seed, within=0.6):
    """A domain: a bias that all share, and directions of unequal weight; draws embeddings [n, k, E]."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(1 + np.arange(64) / 8)
    bias = rng.standard_normal(64)
    bias *= np.linalg.norm(scale) / np.linalg.norm(bias)

    def draw(num_people, num_recordings=1):
        voices = bias + scale * rng.standard_normal((num_people, 1, 64))
        return voices + within * scale * rng.standard_normal((num_people, num_recordings, 64))

    return draw


def small(seed=0, num_people=12, num_recordings=2):
    """Embeddings [N, E], shifted by a bias, and who speaks in them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_people, DIM)) + 0.8
    people = np.repeat(np.arange(num_people), num_recordings)
    return centres[people] + 0.4 * rng.standard_normal((len(people), DIM)), people


# The definitions, vector by vector.


def of_length_one(vector):
    return vector / math.sqrt(sum(x * x for x in vector))


def mean_of(vectors):
    return sum(vectors[1:], vectors[0]) / len(vectors)


def shrunk(vectors):
    """James-Stein, positive part, of the mean: its factor, and the mean times it."""
    mean = mean_of(vectors)
    variance = sum(float((v - mean) @ (v - mean)) for v in vectors) / (len(vectors) - 1)
    factor = max(0.0, 1 - variance / len(vectors) / float(mean @ mean))
    return factor, factor * mean


def highest(scores, limit, top_n):
    return sorted(s for s in scores if s < limit)[-top_n:]


def deviations(cosine, cohort_scores, norm):
    """How many deviations ``cosine`` lies above the mean of the highest cohort scores, both shrunk."""
    top = highest(cohort_scores, norm.same_person, norm.top_n)
    mean = sum(top) / len(top)
    std = math.sqrt(sum((s - mean) ** 2 for s in top) / len(top))
    own, prior = len(top), domain_norm.PRIOR_SCORES
    mean, std = (
        (own * a + prior * b) / (own + prior) for a, b in ((mean, norm.location), (std, norm.spread))
    )
    return (cosine - mean) / std


def as_norm(first, second, cohort, norm):
    """The score of two centred embeddings by a cohort."""
    sides = [[float(side @ other) for other in cohort] for side in (first, second)]
    cosine = float(first @ second)
    return norm.location + norm.spread * sum(deviations(cosine, side, norm) for side in sides) / 2


def voices_of(embeddings, people):
    rows = [of_length_one(e) for e in embeddings]
    return [
        of_length_one(mean_of([r for r, p in zip(rows, people, strict=True) if p == q]))
        for q in sorted(set(people))
    ]


def off_diagonal(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


# Definitions


@pytest.mark.parametrize("same_person", [0.3, 2.0])
def test_the_norm_is_what_its_definition_gives(same_person):
    embeddings, people = small()
    norm, _ = domain_norm.learn(embeddings, people, same_person)
    voices = voices_of(embeddings, people.tolist())
    factor, mean = shrunk(voices)
    assert 0.5 < factor < 0.99  # else shrinkage would not be tried
    np.testing.assert_allclose(norm.mean, mean, atol=1e-12)
    cohort = [of_length_one(v - mean) for v in voices]
    np.testing.assert_allclose(norm.cohort, cohort, atol=1e-12)
    assert norm.top_n == 6  # half of twelve
    tops = [highest([float(v @ w) for w in cohort if w is not v], 2.0, 6) for v in cohort]
    means = [sum(top) / 6 for top in tops]
    stds = [math.sqrt(sum((s - m) ** 2 for s in top) / 6) for top, m in zip(tops, means, strict=True)]
    assert norm.location == pytest.approx(sum(means) / 12)
    assert norm.spread == pytest.approx(sum(stds) / 12)
    assert norm.same_person == same_person


def test_scores_are_as_norm_with_shrunk_statistics():
    embeddings, people = small()
    norm, _ = domain_norm.learn(embeddings, people, 0.3)
    probes = np.random.default_rng(1).standard_normal((5, DIM)) + 0.8
    centred = [of_length_one(of_length_one(p) - norm.mean) for p in probes]
    np.testing.assert_allclose(norm.centred(probes), centred, atol=1e-12)
    found = norm.scores(norm.centred(probes[:3]), norm.centred(probes[2:]))
    expected = [[as_norm(a, b, norm.cohort, norm) for b in centred[2:]] for a in centred[:3]]
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert (norm.centred(probes) @ norm.cohort.T >= 0.3).any()  # some are left out, and what is left shrinks


def test_impostors_leave_their_two_people_out_of_mean_and_cohort():
    embeddings, people = small(num_people=9)
    norm, impostors = domain_norm.learn(embeddings, people, 0.4)
    voices = voices_of(embeddings, people.tolist())
    factor, _ = shrunk(voices)
    expected = np.zeros((9, 9))
    for a in range(9):
        for b in range(a + 1, 9):
            others = [v for n, v in enumerate(voices) if n not in (a, b)]
            mean = factor * mean_of(others)
            cohort = [of_length_one(v - mean) for v in others]
            first, second = (of_length_one(voices[n] - mean) for n in (a, b))
            expected[a, b] = expected[b, a] = as_norm(first, second, cohort, norm)
    np.testing.assert_allclose(off_diagonal(impostors.scores), off_diagonal(expected), atol=1e-9)
    np.testing.assert_array_equal(impostors.scores, impostors.scores.T)


def test_without_cohort_scores_a_recording_is_the_average_one():
    norm = DomainNorm(np.zeros(2), np.eye(2), 2, 0.2, 0.1, 0.5)
    mean, std = norm.statistics(np.array([[0.9, 0.7], [0.9, 0.4]]))
    # None counts of the first; of the second one score, of deviation 0, which weighs 1 / 11.
    np.testing.assert_allclose(mean, [0.2, 0.2 + (0.4 - 0.2) / 11])
    np.testing.assert_allclose(std, [0.1, 0.1 - 0.1 / 11])


def test_a_person_of_the_cohort_may_be_the_probe():
    embeddings, people = small(num_people=30)
    norm, _ = domain_norm.learn(embeddings, people, 0.7)
    without = DomainNorm(norm.mean, norm.cohort[1:], norm.top_n, norm.location, norm.spread, 0.7)
    probe, other = norm.centred(embeddings[:1]), norm.centred(embeddings[-1:] + 1)
    assert (probe @ norm.cohort.T)[0, 0] > 0.7  # of this very person
    assert (probe @ norm.cohort[1:].T).max() < 0.7
    assert (other @ norm.cohort.T).argmin() != 0
    np.testing.assert_array_equal(
        norm.statistics(probe @ norm.cohort.T), without.statistics(probe @ without.cohort.T)
    )
    blind = DomainNorm(norm.mean, norm.cohort, norm.top_n, norm.location, norm.spread, 2.0)
    spoilt, sound = (one.scores(probe, other)[0, 0] for one in (blind, norm))
    assert abs(spoilt - sound) > 0.02


def test_of_few_people_the_mean_is_shrunk_and_of_alike_directions_dropped():
    embeddings, people = small(num_people=5, num_recordings=1)
    mean = domain_norm.learn(embeddings, people, 0.9)[0].mean
    raw = mean_of(voices_of(embeddings, people.tolist()))
    factor, expected = shrunk(voices_of(embeddings, people.tolist()))
    assert 0.3 < factor < 0.95
    np.testing.assert_allclose(mean, expected, atol=1e-12)
    assert np.linalg.norm(mean) < np.linalg.norm(raw)
    opposite = np.concatenate([np.eye(3), -np.eye(3)])  # their mean is 0 but for chance
    np.testing.assert_array_equal(domain_norm.learn(opposite, np.arange(6), 0.9)[0].mean, np.zeros(3))


def test_a_cohort_has_a_limit_and_the_mean_has_none(monkeypatch):
    embeddings, people = small(num_people=40, num_recordings=1)
    whole, _ = domain_norm.learn(embeddings, people, 0.9)
    monkeypatch.setattr(domain_norm, "MAX_PEOPLE", 15)
    norm, impostors = domain_norm.learn(embeddings, people, 0.9)
    assert norm.cohort.shape == (15, DIM)
    assert impostors.scores.shape == (15, 15)
    np.testing.assert_array_equal(norm.mean, whole.mean)
    rows = {row.tobytes() for row in whole.cohort}
    assert len({row.tobytes() for row in norm.cohort} & rows) == 15
    assert norm.top_n == 7


# Invariances


def test_order_and_length_of_embeddings_do_not_matter():
    embeddings, people = small(num_people=35)
    rng = np.random.default_rng(3)
    order = rng.permutation(len(people))
    lengths = rng.uniform(0.1, 30, (len(people), 1))
    norm, impostors = domain_norm.learn(embeddings, people, 0.6)
    again, others = domain_norm.learn((embeddings * lengths)[order], people[order], 0.6)
    np.testing.assert_allclose(again.mean, norm.mean, atol=1e-12)
    np.testing.assert_allclose(again.cohort, norm.cohort, atol=1e-12)
    np.testing.assert_allclose(others.scores, impostors.scores, atol=1e-9)
    for robust in (False, True):
        expected = impostors.threshold(0.02, robust=robust)
        assert others.threshold(0.02, robust=robust) == pytest.approx(expected, abs=1e-9)
    guessed, level = domain_norm.people_of(embeddings)
    guessed_again, level_again = domain_norm.people_of((embeddings * lengths)[order])
    assert level_again == pytest.approx(level)
    pairs = guessed[:, None] == guessed
    np.testing.assert_array_equal(guessed_again[:, None] == guessed_again, pairs[order][:, order])


def test_names_of_people_do_not_matter():
    embeddings, people = small()
    named = np.array([f"speaker {chr(90 - n)}" for n in people])
    scores = [domain_norm.learn(embeddings, of, 0.6)[1].scores for of in (people, named)]
    np.testing.assert_allclose(np.sort(off_diagonal(scores[0])), np.sort(off_diagonal(scores[1])), atol=1e-9)


# Thresholds, by hand


def from_pairs(values, num_people):
    """Impostors whose pairs have ``values`` in some order."""
    scores = np.zeros((num_people, num_people))
    scores[np.triu_indices(num_people, 1)] = np.random.default_rng(0).permutation(values)
    return Impostors(scores + scores.T)


def normal_pairs(num_people, mean=0.1, std=0.05):
    """Scores at equal shares of a normal distribution."""
    size = num_people * (num_people - 1) // 2
    return np.array([NormalDist(mean, std).inv_cdf((n + 0.5) / size) for n in range(size)])


def test_a_threshold_is_a_quantile_of_the_pairs():
    values = np.arange(1, 1226) / 1000  # of 50 people
    found = from_pairs(values, 50).threshold(0.02)
    assert found == pytest.approx(np.sort(values)[1199] + 0.52e-3)  # place 0.98 * 1224 = 1199.52, from 0
    assert (values >= found).sum() == 25  # 2.04 % of 1225, the nearest above 2 %


def test_where_no_pair_is_to_reach_it_the_tail_tells():
    impostors = from_pairs(normal_pairs(30), 30)  # 435 pairs: 0.4 of them at 1e-3
    expected = NormalDist(0.1, 0.05).inv_cdf(1 - 1e-3)
    assert impostors.threshold(1e-3, robust=True) == pytest.approx(expected, abs=1e-3)
    assert impostors.threshold(1e-3) == pytest.approx(expected, abs=1e-3)
    assert impostors.threshold(1e-6) == pytest.approx(NormalDist(0.1, 0.05).inv_cdf(1 - 1e-6), abs=2e-3)
    for least in (1e-17, 5e-324):  # 1 - least is 1; their quantiles are -8.49 and -38.47
        quantile = NormalDist().inv_cdf(least)
        assert impostors.threshold(least) == pytest.approx(0.1 - 0.05 * quantile, rel=0.01)
    high = normal_pairs(30)
    high[-1] = 0.9  # told to be of two people
    assert from_pairs(high, 30).threshold(1e-3) > 0.5
    assert from_pairs(high, 30).threshold(1e-3, robust=True) == pytest.approx(expected, abs=1e-3)


def test_a_robust_threshold_is_not_raised_by_pairs_of_one_person():
    clean = normal_pairs(60)  # 1770 pairs
    mixed = clean.copy()
    mixed[-36:] = 0.8  # 2 % are of one person
    expected = NormalDist(0.1, 0.05).inv_cdf(0.99)
    assert from_pairs(mixed, 60).threshold(0.01) == pytest.approx(0.8)
    assert from_pairs(mixed, 60).threshold(0.01, robust=True) == pytest.approx(expected, abs=0.01)
    assert from_pairs(clean, 60).threshold(0.01, robust=True) == pytest.approx(expected, abs=1e-3)


def test_a_robust_threshold_is_not_raised_by_a_short_tail_either():
    values = np.minimum(normal_pairs(60), 0.2)
    assert from_pairs(values, 60).threshold(0.01, robust=True) == pytest.approx(0.2)


def drawn_anew(scores, threshold, num_draws=2000):
    """Shares of pairs of different people that reach ``threshold``, of people drawn with replacement."""
    rng = np.random.default_rng(99)
    shares = []
    for _ in range(num_draws):
        people = rng.integers(len(scores), size=len(scores))
        differ = people[:, None] != people
        shares.append((scores[people][:, people][differ] >= threshold).mean())
    return np.quantile(shares, (0.025, 0.975))


def test_an_interval_draws_people_anew():
    _, impostors = domain_norm.learn(world(5)(40)[:, 0], np.arange(40), 0.9)
    threshold = impostors.threshold(0.05)
    assert impostors.interval(threshold) == pytest.approx(drawn_anew(impostors.scores, threshold), abs=0.004)
    assert impostors.interval(threshold) == impostors.interval(threshold)


def test_an_interval_has_ends():
    impostors = from_pairs(normal_pairs(20), 20)
    assert impostors.interval(-1.0) == (1.0, 1.0)
    low, high = impostors.interval(0.9)
    assert 0 <= low <= high < 1e-6
    equal = Impostors(np.full((10, 10), 0.25))
    assert equal.interval(0.25) == (1.0, 1.0)
    assert equal.interval(0.26) == (0.0, 0.0)


def test_of_nine_people_nothing_is_known():
    assert Impostors(np.full((9, 9), 0.25)).interval(0.26) == (0.0, 1.0)


# What it is for: strangers


def false_accept(norm, threshold, strangers):
    centred = norm.centred(strangers)
    return float((off_diagonal(norm.scores(centred, centred)) >= threshold).mean())


@pytest.mark.parametrize(("num_people", "wanted"), [(30, 0.05), (30, 0.01), (100, 0.01)])
def test_strangers_are_accepted_as_often_as_was_wanted(num_people, wanted):
    """On average over worlds, within three standard errors of the pairs that thresholds come from."""
    num_worlds = 12
    rates, careless = [], []
    for seed in range(num_worlds):
        draw = world(seed)
        norm, impostors = domain_norm.learn(draw(num_people)[:, 0], np.arange(num_people), 0.9)
        strangers = draw(250)[:, 0]
        rates.append(false_accept(norm, impostors.threshold(wanted), strangers))
        inside = np.quantile(off_diagonal(norm.scores(norm.cohort, norm.cohort)), 1 - wanted)
        careless.append(false_accept(norm, inside, strangers))
    num_pairs = num_people * (num_people - 1) / 2 * num_worlds
    error = 3 * math.sqrt(wanted * (1 - wanted) / num_pairs)
    assert abs(np.mean(rates) - wanted) < error
    assert np.mean(careless) > wanted + error  # nobody left out: subtracted people are not strangers


@pytest.mark.parametrize("num_people", [10, 30])
def test_intervals_cover_what_strangers_do(num_people):
    """Of 40 intervals of 95 %, 34 or more cover with probability 0.995 (binomial); few pairs reach these."""
    covered, width = 0, []
    for seed in range(40):
        draw = world(100 + seed)
        norm, impostors = domain_norm.learn(draw(num_people)[:, 0], np.arange(num_people), 0.9)
        threshold = impostors.threshold(TARGET_FA)
        low, high = impostors.interval(threshold)
        covered += low <= false_accept(norm, threshold, draw(150)[:, 0]) <= high
        width.append(high - low)
    assert covered >= 34
    assert 0.005 < np.mean(width) < 0.2


def test_people_are_told_apart():
    embeddings = world(7, within=0.35)(40, 3)
    people, level = domain_norm.people_of(embeddings.reshape(-1, 64))
    same = people[:, None] == people
    truth = np.repeat(np.arange(40), 3)
    expected = truth[:, None] == truth
    assert 0.3 < level < 0.9
    off = ~np.eye(len(truth), dtype=bool)
    assert same[expected & off].mean() > 0.95
    assert same[~expected].mean() < 0.002


def joined(cosines, level):
    """Average linkage step by step: sets of rows, until no two have a mean cosine of ``level``."""
    groups = [{row} for row in range(len(cosines))]
    while len(groups) > 1:
        means = {
            (a, b): np.mean([cosines[m, n] for m in groups[a] for n in groups[b]])
            for a in range(len(groups))
            for b in range(a)
        }
        (first, second), closest = max(means.items(), key=lambda one: one[1])
        if closest < level:
            break
        groups[second] |= groups.pop(first)
    return groups


def test_people_are_joined_by_average_linkage_of_centred_cosines():
    embeddings = world(27, within=0.9)(10, 3).reshape(-1, 64)
    rows = [of_length_one(e) for e in embeddings]
    _, mean = shrunk(rows)
    centred = np.stack([of_length_one(row - mean) for row in rows])
    cosines = centred @ centred.T
    pairs = np.sort(off_diagonal(cosines))
    median, low = np.interp(
        np.array([0.5, NormalDist().cdf(-1)]) * (len(pairs) - 1), range(len(pairs)), pairs
    )
    people, level = domain_norm.people_of(embeddings)
    assert level == pytest.approx(median + 4 * (median - low))
    found = [set(np.flatnonzero(people == number).tolist()) for number in set(people.tolist())]
    assert sorted(map(sorted, found)) == sorted(map(sorted, joined(cosines, level)))
    assert 10 < len(found) < 30  # 14; nearest or farthest members would give 13 or 18


def test_repeated_people_without_labels_give_nearly_the_threshold_of_labels():
    for seed in range(3):
        draw = world(seed, within=0.5)
        embeddings = np.concatenate([draw(50)[:, 0], draw(15, 4).reshape(-1, 64)])
        truth = np.concatenate([np.arange(50), 50 + np.repeat(np.arange(15), 4)])
        guessed, level = domain_norm.people_of(embeddings)
        norm, known = domain_norm.learn(embeddings, truth, level)
        _, unknown = domain_norm.learn(embeddings, guessed, level)
        _, careless = domain_norm.learn(embeddings, np.arange(len(truth)), 2.0)
        expected = known.threshold(TARGET_FA)
        assert unknown.threshold(TARGET_FA, robust=True) == pytest.approx(expected, abs=0.5 * norm.spread)
        assert careless.threshold(TARGET_FA) > expected + 2 * norm.spread


def test_the_fewest_people():
    embeddings, people = small(num_people=domain_norm.MIN_PEOPLE)
    norm, impostors = domain_norm.learn(embeddings, people, 0.9)
    assert norm.top_n == 2
    assert math.isfinite(impostors.threshold(TARGET_FA))
    low, high = impostors.interval(impostors.threshold(TARGET_FA))
    assert 0 <= low < high <= 1


def test_one_recording_many_times_is_one_person():
    people, _ = domain_norm.people_of(np.tile(np.arange(1.0, 9.0), (6, 1)))
    assert len(set(people.tolist())) == 1
