"""Laws that every score list obeys, ties included, searched by hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression

from speakerlab.metrics.detection import detection
from speakerlab.metrics.identification import identification
from speakerlab.metrics.log_likelihood_ratio import bayes_error_curve
from speakerlab.metrics.operating_points import PRESETS
from speakerlab.metrics.sorted_scores import sort_scores
from speakerlab.types import ScoreTable, TrialList

law = settings(deadline=None, max_examples=100)
# Few distinct scores make ties; the whole range of doubles makes gaps of every size.
SCORES = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6))


@st.composite
def score_tables(draw):
    targets = draw(st.lists(SCORES, min_size=1, max_size=25))
    nontargets = draw(st.lists(SCORES, min_size=1, max_size=25))
    return make(np.array(targets + nontargets), [1] * len(targets) + [0] * len(nontargets))


def make(scores, labels):
    ids = [str(row) for row in range(len(scores))]
    return ScoreTable(TrialList(ids, ids, np.array(labels, dtype=np.int8)), scores)


def measure(table):
    return detection(table, PRESETS, llr=True)


@law
@given(score_tables(), st.randoms(use_true_random=False))
def test_order_does_not_matter(table, random):
    order = list(range(len(table.scores)))
    random.shuffle(order)
    assert measure(make(table.scores[order], table.trials.labels[order])) == measure(table)


@law
@given(score_tables())
def test_strictly_increasing_maps_change_nothing_but_the_threshold(table):
    before = measure(table)
    _, rank = np.unique(table.scores, return_inverse=True)
    after = measure(make(np.exp(rank / 7.0), table.trials.labels))
    for name in ("eer", "rocch_eer", "min_cllr", "min_dcf", "min_c_primary", "fnr_at_fpr"):
        assert getattr(after, name) == getattr(before, name)
    assert after.eer_threshold == np.exp(rank / 7.0)[table.scores == before.eer_threshold][0]


@law
@given(score_tables())
def test_repeating_every_trial_changes_nothing(table):
    before = measure(table)
    after = measure(make(np.tile(table.scores, 3), np.tile(table.trials.labels, 3)))
    assert (after.eer, after.eer_threshold, after.min_dcf) == (
        before.eer,
        before.eer_threshold,
        before.min_dcf,
    )
    assert (after.rocch_eer, after.fnr_at_fpr) == (before.rocch_eer, before.fnr_at_fpr)
    assert after.min_cllr == pytest.approx(before.min_cllr, abs=1e-12)
    assert after.cllr == pytest.approx(before.cllr, rel=1e-12)
    assert after.act_dcf == pytest.approx(before.act_dcf, rel=1e-12)


@law
@given(score_tables())
def test_swapped_labels_and_negated_scores_have_the_same_eer(table):
    before, after = measure(table), measure(make(-table.scores, 1 - table.trials.labels))
    assert after.eer == pytest.approx(before.eer, abs=1e-12)
    assert after.rocch_eer == pytest.approx(before.rocch_eer, abs=1e-12)
    assert after.min_cllr == pytest.approx(before.min_cllr, abs=1e-12)
    assert after.cllr == pytest.approx(before.cllr, rel=1e-12)


@law
@given(score_tables())
def test_ranges(table):
    metrics = measure(table)
    assert 0 <= metrics.rocch_eer <= min(metrics.eer, 0.5) + 1e-12
    assert metrics.eer <= 1
    assert all(0 <= cost <= 1 for cost in metrics.min_dcf.values())
    assert metrics.eer_threshold in table.scores
    assert -1e-12 <= metrics.min_cllr <= min(1, metrics.cllr) + 1e-12
    for name, least in metrics.min_dcf.items():
        assert least <= metrics.act_dcf[name] + 1e-12
    assert 0 <= metrics.fnr_at_fpr["0.01"] <= metrics.fnr_at_fpr["0.001"] <= 1


@law
@given(score_tables())
def test_hull_eer_is_the_largest_of_the_minimum_errors_over_priors(table):
    targets, nontargets = (table.scores[table.trials.labels == label] for label in (1, 0))
    cuts = [*table.scores, np.inf]
    errors = [((targets < cut).mean(), (nontargets >= cut).mean()) for cut in cuts]
    priors = np.linspace(0, 1, 201)
    worst = max(min(p * miss + (1 - p) * fa for miss, fa in errors) for p in priors)
    hull = measure(table).rocch_eer
    assert worst - 1e-12 <= hull <= worst + 0.01  # the grid of priors misses the top by little


@law
@given(st.floats(-1e300, 1e300), st.integers(1, 30), st.integers(1, 30))
def test_equal_scores_are_a_coin(score, num_targets, num_nontargets):
    labels = [1] * num_targets + [0] * num_nontargets
    metrics = measure(make(np.full(len(labels), score), labels))
    assert (metrics.eer, metrics.rocch_eer, set(metrics.min_dcf.values())) == (0.5, 0.5, {1.0})
    assert metrics.min_cllr == pytest.approx(1, abs=1e-12)
    assert set(metrics.fnr_at_fpr.values()) == {1.0}


@law
@given(score_tables())
def test_the_best_monotone_calibration_costs_what_min_cllr_says(table):
    """Isotonic regression of scikit-learn gives log-likelihood ratios; their Cllr is the least there is."""
    labels = table.trials.labels
    weights = np.where(labels == 1, 1 / labels.sum(), 1 / (1 - labels).sum())
    ranks = np.unique(table.scores, return_inverse=True)[1]  # scikit-learn takes tiny differences for ties
    posterior = IsotonicRegression().fit_transform(ranks, labels, sample_weight=weights)
    with np.errstate(divide="ignore"):
        bits = -np.log2(np.where(labels == 1, posterior, 1 - posterior))
    assert measure(table).min_cllr == pytest.approx((bits * weights).sum() / 2, abs=1e-9)


@law
@given(score_tables(), st.lists(st.floats(-20, 20), min_size=1, max_size=9, unique=True).map(sorted))
def test_bayes_decisions_never_beat_the_best_threshold_nor_that_the_prior_alone(table, log_odds):
    curve = bayes_error_curve(table, np.array(log_odds))
    assert (curve.minimum <= curve.actual + 1e-12).all()
    assert (curve.minimum <= 1 + 1e-12).all()
    assert (curve.minimum >= 0).all()


@law
@given(score_tables())
def test_single_precision_differs_only_by_its_rounding(table):
    """Scores that single precision holds are measured as exactly as in double."""
    scores, labels = table.scores.astype(np.float32), table.trials.labels
    narrow = sort_scores(scores[labels == 1], scores[labels == 0])
    assert detection(narrow, PRESETS, llr=True) == measure(make(scores.astype(np.float64), labels))


@law
@given(
    arrays(
        np.float64, st.tuples(st.integers(2, 12), st.integers(1, 5)), elements=st.integers(-3, 3).map(float)
    ),
    st.randoms(use_true_random=False),
)
def test_more_false_positives_never_cost_more_false_negatives(scores, random):
    mates = np.array([random.randint(-1, scores.shape[1] - 1) for _ in scores])
    mates[:2] = 0, -1
    metrics = identification(scores, mates, fpirs=[0, 0.1, 0.5, 1])
    rates = list(metrics.fnir_at_fpir.values())
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1 - metrics.rank_1, abs=1e-12)  # any top model is accepted
