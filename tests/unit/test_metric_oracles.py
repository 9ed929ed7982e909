"""All metrics against independent implementations: llreval (Brummer, van Leeuwen) and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from llreval.bayes_error_rate import default_error_rate, fast_Bayes_error_rate
from llreval.cllr import cllr as llreval_cllr
from llreval.cllr import min_cllr as llreval_min_cllr
from llreval.pav_rocch import PAV, ROCCH
from scipy.special import expit, logit
from sklearn.metrics import det_curve, log_loss, roc_curve

from speakerlab.metrics.detection import detection
from speakerlab.metrics.error_curve import equal_error_rate, error_curve
from speakerlab.metrics.log_likelihood_ratio import bayes_error_curve
from speakerlab.metrics.operating_points import PRESETS, points_of
from speakerlab.metrics.sorted_scores import sort_scores

CASES = {
    "continuous": (400, 3000, 8, 1.0),
    "one decimal": (400, 3000, 1, 1.0),
    "integers": (400, 3000, 0, 1.0),
    "more targets": (3000, 200, 1, 1.0),
    "overconfident": (400, 3000, 2, 5.0),
    "few": (3, 5, 1, 1.0),
    "separated": (50, 80, 8, 100.0),
}


@pytest.fixture(params=CASES)
def scores(request):
    """Targets, non-targets, as calibrated as two normals of distance 2 are, times a scale."""
    num_targets, num_nontargets, decimals, scale = CASES[request.param]
    rng = np.random.default_rng(7)
    shift = 6.0 if request.param == "separated" else 2.0
    targets = scale * (rng.normal(shift, 2.0, num_targets))
    return targets.round(decimals), (scale * rng.normal(-shift, 2.0, num_nontargets)).round(decimals)


def labelled(targets, nontargets):
    return np.concatenate([targets, nontargets]), np.repeat([1, 0], [len(targets), len(nontargets)])


def test_llreval_agrees(scores):
    targets, nontargets = scores
    pav = PAV(*labelled(targets, nontargets))
    metrics = detection(sort_scores(targets, nontargets), PRESETS, llr=True)
    assert metrics.cllr == pytest.approx(llreval_cllr(targets, nontargets), rel=1e-12)
    assert metrics.min_cllr == pytest.approx(llreval_min_cllr(pav), abs=1e-12)
    assert metrics.rocch_eer == pytest.approx(ROCCH(pav).EER(), abs=1e-6)  # theirs is a numerical search
    for name, point in points_of(PRESETS).items():
        prior = 1 / (1 + np.exp(-point.log_odds))
        least = ROCCH(pav).Bayes_error_rate(point.log_odds) / min(prior, 1 - prior)
        assert metrics.min_dcf[name] == pytest.approx(least, abs=1e-10)


def test_bayes_error_curve_of_llreval_agrees(scores):
    """No threshold is a score here: llreval decides such ties by the order of trials."""
    log_odds = np.linspace(-7, 7, 57) + 1e-3 * np.pi
    both = labelled(*scores)
    minimum, actual = ROCCH(PAV(*both)).Bayes_error_rate(log_odds), fast_Bayes_error_rate(*both, log_odds)
    default = default_error_rate(log_odds)
    curve = bayes_error_curve(sort_scores(*scores), log_odds)
    assert curve.actual == pytest.approx(actual / default, abs=1e-10)
    assert curve.minimum == pytest.approx(minimum / default, abs=1e-10)
    assert curve.default_error == pytest.approx(default, rel=1e-12)


def test_scikit_learn_agrees(scores):
    targets, nontargets = scores
    both, labels = labelled(targets, nontargets)
    fpr, tpr, _ = roc_curve(labels, both, drop_intermediate=False)
    metrics = detection(sort_scores(targets, nontargets), PRESETS, llr=True, fprs=[0.001, 0.01, 0.2])
    for name, rate in metrics.fnr_at_fpr.items():
        assert rate == pytest.approx(1 - tpr[fpr <= float(name)].max(), abs=1e-12)
    for name, point in points_of(PRESETS).items():
        assert metrics.min_dcf[name] == pytest.approx(point.cost(1 - tpr, fpr).min(), abs=1e-12)
    weights = np.where(labels == 1, 0.5 / len(targets), 0.5 / len(nontargets))
    if np.abs(both).max() < 30:  # log_loss clips posteriors
        expected = log_loss(labels, expit(both), sample_weight=weights) / np.log(2)
        assert metrics.cllr == pytest.approx(expected, rel=1e-9)


def test_det_curve_of_scikit_learn_has_our_corners(scores):
    both, labels = labelled(*scores)
    p_fa, p_miss, _ = det_curve(labels, both)
    theirs = set(zip(p_fa.round(12), p_miss.round(12), strict=True)) | {(0.0, 1.0), (1.0, 0.0)}
    curve = error_curve(sort_scores(*scores))
    assert set(zip(curve.p_fa.round(12), curve.p_miss.round(12), strict=True)) <= theirs
    path = np.array(sorted((miss, -fa) for fa, miss in theirs))
    expected = equal_error_rate(path[:, 0], -path[:, 1])
    assert equal_error_rate(curve.p_miss, curve.p_fa) == pytest.approx(expected, abs=1e-9)


def test_bayes_thresholds_are_the_logits_of_the_priors():
    """The values that the plans print: 4.595 for 0.01, 2.944 for 0.05, 5.293 for 0.005, 6.907 for 0.001."""
    thresholds = {name: point.bayes_threshold for name, point in points_of(PRESETS).items()}
    assert thresholds == pytest.approx(
        {"0.01": 4.595, "0.05": 2.944, "0.005": 5.293, "0.001": 6.907, "0.01, 10:1": 2.293}, abs=5e-4
    )
    assert thresholds["0.01"] == pytest.approx(-logit(0.01), rel=1e-12)
