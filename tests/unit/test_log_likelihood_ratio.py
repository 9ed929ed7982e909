"""Cllr, minimum Cllr and Bayes error curves of lists worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from speakerlab.errors import DataError
from speakerlab.metrics import log_likelihood_ratio
from speakerlab.metrics.detection import detection
from speakerlab.metrics.error_curve import error_curve
from speakerlab.metrics.log_likelihood_ratio import bayes_error_curve, cllr, min_cllr
from speakerlab.metrics.sorted_scores import sort_scores


def scores(targets, nontargets):
    return sort_scores(np.array(targets, dtype=np.float64), np.array(nontargets, dtype=np.float64))


def least(targets, nontargets):
    curve = error_curve(scores(targets, nontargets))
    return min_cllr(curve.num_miss, curve.num_fa)


@pytest.mark.parametrize(
    ("targets", "nontargets", "expected"),
    [
        ([0, 0], [0, 0, 0], 1.0),  # says nothing
        ([np.log(3)], [-np.log(3)], np.log2(4 / 3)),  # both cost log2(1 + 1/3)
        ([np.log(3), -np.log(3)], [0], (np.log2(4 / 3) + np.log2(4)) / 4 + 0.5),
        ([1e6], [-1e6], 0.0),
        ([-1e6], [-1e6], 5e5 / np.log(2)),  # a confident error costs what it says, no overflow
    ],
)
def test_cllr_by_hand(targets, nontargets, expected):
    assert cllr(scores(targets, nontargets)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("targets", "nontargets", "expected"),
    [
        ([5, 5], [5, 5, 5], 1.0),
        ([3, 4], [1, 2], 0.0),
        ([1, 2], [3, 4], 1.0),  # the wrong way round: the best monotone map says nothing
        # PAV pools 1 and 2 into a block of 1 target, 1 of 2 non-targets: a ratio of (1/2) / (1/2) there,
        # one target at infinity, one non-target at minus infinity: half of either kind costs one bit.
        ([1, 3], [2, 0], 0.5),
        # Ties: blocks {0, 0}, {1, 1, 1, 1} of 2 targets of 3, 2 non-targets of 4, {2}.
        ([2, 1, 1], [1, 1, 0, 0], (2 / 3 * np.log2(1 + 3 / 4) + 1 / 2 * np.log2(1 + 4 / 3)) / 2),
    ],
)
def test_min_cllr_by_hand(targets, nontargets, expected):
    assert least(targets, nontargets) == pytest.approx(expected, rel=1e-12)


def test_blocks_of_the_mean_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    one = scores(rng.normal(2, 2, 999), rng.normal(-2, 2, 1001))
    whole = cllr(one)
    monkeypatch.setattr(log_likelihood_ratio, "BLOCK_SCORES", 100)
    assert cllr(one) == pytest.approx(whole, rel=1e-13)


def test_calibrated_scores_lose_nothing_to_calibration():
    """Log-likelihood ratios of two normals with means +-2 and variance 4 are the samples themselves."""
    rng = np.random.default_rng(0)
    metrics = detection(scores(rng.normal(2, 2, 100_000), rng.normal(-2, 2, 100_000)), llr=True)
    assert 0 <= metrics.cllr - metrics.min_cllr < 0.001
    expected = quad(lambda x: np.log2(1 + np.exp(-x)) * norm.pdf(x, 2, 2), -40, 40)[0]  # of either kind
    assert metrics.cllr == pytest.approx(expected, abs=0.004)
    for name, actual in metrics.act_dcf.items():
        assert metrics.min_dcf[name] <= actual < metrics.min_dcf[name] + 0.01


def test_bayes_error_curve_by_hand():
    """Targets 1 and -1, non-targets -1 and -3; prior log-odds 0 has its threshold at 0."""
    curve = bayes_error_curve(scores([1, -1], [-1, -3]), np.array([-2.0, 0.0, 1.0, 2.0]))
    prior = 1 / (1 + np.exp(-curve.log_odds))
    # thresholds 2, 0, -1 (which accepts -1) and -2: misses 1, 1/2, 0, 0; false alarms 0, 0, 1/2, 1/2
    actual = [prior[0], prior[1] / 2, (1 - prior[2]) / 2, (1 - prior[3]) / 2]
    assert curve.actual == pytest.approx(actual / np.minimum(prior, 1 - prior), rel=1e-12)
    assert curve.minimum == pytest.approx([0.5] * 4, rel=1e-12)
    assert curve.default_error == pytest.approx(np.minimum(prior, 1 - prior), rel=1e-12)


def test_costs_at_an_operating_point_lie_on_the_bayes_error_curve():
    rng = np.random.default_rng(1)
    known = scores(rng.normal(2, 3, 300), rng.normal(-2, 3, 900))
    metrics = detection(known, llr=True)
    curve = bayes_error_curve(known, np.log([0.01 / 0.99, 0.05 / 0.95]))
    assert list(metrics.act_dcf.values()) == pytest.approx(curve.actual, rel=1e-12)
    assert list(metrics.min_dcf.values()) == pytest.approx(curve.minimum, rel=1e-12)


def test_without_ratios_there_are_no_actual_costs():
    metrics = detection(scores([1, 2], [0, 1]))
    assert (metrics.cllr, metrics.act_dcf, metrics.act_c_primary) == (None, {}, {})


def test_bad_scores_are_refused():
    with pytest.raises(DataError, match="NaN or Inf"):
        cllr(scores([1, np.inf], [0]))
    with pytest.raises(DataError, match="no nontarget trial"):
        bayes_error_curve(scores([1], []))
