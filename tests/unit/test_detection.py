"""Detection metrics against hand-computed lists, scikit-learn's ROC and its isotonic regression (PAV).

The two named defects of other toolkits (NaN counted as no error, IndexError for one class) have a test each.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from speakerlab.errors import DataError
from speakerlab.metrics.detection import detection
from speakerlab.metrics.error_curve import error_curve
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, PRESETS, OperatingPoint
from speakerlab.metrics.sorted_scores import sort_scores
from speakerlab.types import ScoreTable, TrialList


def table(targets, nontargets):
    """A score table with the targets first."""
    scores = np.array([*targets, *nontargets], dtype=np.float64)
    labels = np.array([1] * len(targets) + [0] * len(nontargets), dtype=np.int8)
    ids = [f"e{row}" for row in range(len(scores))]
    return ScoreTable(TrialList(ids, [f"t{row}" for row in range(len(scores))], labels, "list"), scores)


def random_table(num_targets, num_nontargets, *, decimals, seed=0):
    """Overlapping normal scores, rounded so that there are ties."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(1.5, 1.2, num_targets), rng.normal(0, 1, num_nontargets)
    return table(*(s.round(decimals) for s in scores))


def test_curve_of_a_list_without_ties():
    curve = error_curve(table([0.9, 0.8, 0.4], [0.7, 0.3, 0.2, 0.1]))
    # Of 0.1, 0.2, 0.3, 0.4, 0.7, 0.8, 0.9 and inf, those where the curve turns, and its ends.
    assert curve.thresholds.tolist() == [0.1, 0.4, 0.7, 0.8, np.inf]
    assert curve.num_miss.tolist() == [0, 0, 1, 1, 3]
    assert curve.num_fa.tolist() == [4, 1, 1, 0, 0]
    assert (curve.num_targets, curve.num_nontargets) == (3, 4)


def test_metrics_of_a_list_without_ties():
    presets = {"half": (OperatingPoint(0.5), OperatingPoint(0.8)), **DEFAULT_PRESETS}
    metrics = detection(table([0.9, 0.8, 0.4], [0.7, 0.3, 0.2, 0.1]), presets)
    # From (P_fa, P_miss) = (1/4, 0) the curve rises to (1/4, 1/3): it crosses the diagonal at 1/4.
    assert metrics.eer == 0.25
    # The hull goes straight from (1/4, 0) to (0, 1/3): 4x + 3x = 1.
    assert metrics.rocch_eer == pytest.approx(1 / 7, abs=1e-15)
    assert metrics.eer_threshold == 0.7  # miss 1/3, false alarm 1/4
    # The costs are miss + fa, 4 miss + fa (accepting all costs 1), miss + 99 fa and miss + 19 fa.
    expected = {"0.5": 0.25, "0.8": 0.25, "0.01": 1 / 3, "0.05": 1 / 3}
    assert metrics.min_dcf == pytest.approx(expected, abs=1e-15)
    assert metrics.min_c_primary == pytest.approx(
        {"half": 0.25, "voxceleb": 1 / 3, "voxsrc": 1 / 3}, abs=1e-15
    )


def test_metrics_of_a_list_with_ties():
    # Thresholds 0, 1, 2, inf: misses 0, 0, 2/3, 1; false alarms 1, 1/2, 0, 0.
    metrics = detection(table([2, 1, 1], [1, 1, 0, 0]))
    assert metrics.eer == pytest.approx(2 / 7, abs=1e-15)
    assert metrics.rocch_eer == pytest.approx(2 / 7, abs=1e-15)
    assert metrics.eer_threshold == 1
    assert metrics.min_dcf["0.01"] == pytest.approx(2 / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("targets", "nontargets", "eer", "rocch_eer", "min_dcf", "threshold"),
    [
        ([5, 5], [5, 5, 5], 0.5, 0.5, 1.0, 5),  # says nothing
        ([3, 4], [1, 2], 0.0, 0.0, 0.0, 3),  # perfect
        ([1, 2], [3, 4], 1.0, 0.5, 1.0, 3),  # always wrong; a hull never is
        ([1], [0], 0.0, 0.0, 0.0, 1),
    ],
)
def test_extreme_lists(targets, nontargets, eer, rocch_eer, min_dcf, threshold):
    metrics = detection(table(targets, nontargets))
    assert (metrics.eer, metrics.rocch_eer, metrics.eer_threshold) == (eer, rocch_eer, threshold)
    assert set(metrics.min_dcf.values()) == {min_dcf}


@pytest.mark.parametrize("decimals", [0, 1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_eer_is_where_the_roc_of_sklearn_crosses(decimals, seed):
    scored = random_table(300, 1000, decimals=decimals, seed=seed)
    fpr, tpr, _ = roc_curve(scored.trials.labels, scored.scores, drop_intermediate=False)
    expected = brentq(lambda rate: 1 - rate - np.interp(rate, fpr, tpr), 0, 1, xtol=1e-14)
    assert detection(scored).eer == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("decimals", [0, 1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_rocch_eer_is_that_of_isotonic_regression(decimals, seed):
    scored = random_table(300, 1000, decimals=decimals, seed=seed)
    labels = scored.trials.labels
    posterior = IsotonicRegression().fit_transform(scored.scores, labels)
    cuts = [*np.unique(posterior), np.inf]
    p_miss = np.array([(posterior[labels == 1] < cut).mean() for cut in cuts])
    p_fa = np.array([(posterior[labels == 0] >= cut).mean() for cut in cuts])
    assert detection(scored).rocch_eer == pytest.approx(np.interp(0, p_miss - p_fa, p_miss), abs=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_costs_of_a_preset_are_the_mean_over_its_points(name):
    scored = random_table(40, 150, decimals=1)
    targets, nontargets = scored.scores[:40], scored.scores[40:]

    def cost(point, threshold):
        return (
            point.c_miss * point.p_target * (targets < threshold).mean()
            + point.c_fa * (1 - point.p_target) * (nontargets >= threshold).mean()
        ) / min(point.c_miss * point.p_target, point.c_fa * (1 - point.p_target))

    least = [min(cost(point, t) for t in [*scored.scores, np.inf]) for point in PRESETS[name]]
    odds = [np.log(p.c_miss * p.p_target / (p.c_fa * (1 - p.p_target))) for p in PRESETS[name]]
    actual = [cost(point, -o) for point, o in zip(PRESETS[name], odds, strict=True)]
    metrics = detection(scored, {name: PRESETS[name]}, llr=True)
    assert list(metrics.min_dcf.values()) == pytest.approx(least, abs=1e-12)
    assert metrics.min_c_primary == {name: pytest.approx(np.mean(least), abs=1e-12)}
    assert list(metrics.act_dcf.values()) == pytest.approx(actual, abs=1e-12)
    assert metrics.act_c_primary == {name: pytest.approx(np.mean(actual), abs=1e-12)}


def test_a_million_trials_reach_the_theoretical_rate():
    rng = np.random.default_rng(0)
    labels = (np.arange(10**6) % 2).astype(np.int8)
    scores = rng.standard_normal(len(labels)) + 3.0 * labels
    metrics = detection(sort_scores(scores[labels == 1], scores[labels == 0]))
    assert metrics.eer == pytest.approx(norm.cdf(-1.5), abs=1e-3)
    assert metrics.eer_threshold == pytest.approx(1.5, abs=0.02)


def test_order_of_trials_does_not_matter_under_ties():
    """Elsewhere constant scores gave an EER of 0.48 to 1.0, depending on the order."""
    scored = random_table(100, 300, decimals=0)
    rng = np.random.default_rng(1)
    for _ in range(10):
        order = rng.permutation(len(scored.scores))
        trials = TrialList(
            [scored.trials.enroll_ids[row] for row in order],
            [scored.trials.test_ids[row] for row in order],
            scored.trials.labels[order],
        )
        assert detection(ScoreTable(trials, scored.scores[order])) == detection(scored)


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_are_refused(score):
    """Elsewhere a NaN target score was reported as EER 0.0 and minDCF 0.0."""
    with pytest.raises(DataError, match=r"list: trial 'e1 t1' has a NaN or Inf score \(2 such trials\)"):
        detection(table([0.5, score, 0.6], [0.1, score]))


@pytest.mark.parametrize(
    ("targets", "nontargets", "kind"), [([0.1, 0.2], [], "nontarget"), ([], [0.3], "target")]
)
def test_one_class_is_refused(targets, nontargets, kind):
    """Elsewhere a list without non-target trials was an IndexError."""
    with pytest.raises(DataError, match=f"list: no {kind} trial among"):
        detection(table(targets, nontargets))


def test_empty_list_is_refused():
    with pytest.raises(DataError, match="no target trial among 0"):
        detection(table([], []))


def test_unlabelled_trials_are_refused():
    scored = table([0.5], [0.1, 0.2])
    scored.trials.labels[1:] = -1
    with pytest.raises(DataError, match=r"trial 'e1 t1' has no label \(2 such trials\)"):
        detection(scored)


def test_scores_of_another_number_are_refused():
    with pytest.raises(DataError, match="3 trials but scores of shape"):
        detection(ScoreTable(table([0.5], [0.1, 0.2]).trials, np.zeros(2)))


def test_more_false_alarms_allowed_never_cost_misses_and_ties_count_whole():
    """Non-targets 5, 3, 3, 0: with a quarter of them accepted the threshold is above 3."""
    metrics = detection(table([6, 3, 3, -1], [5, 3, 3, 0]), fprs=[0, 0.25, 0.5, 0.75, 1])
    assert metrics.fnr_at_fpr == {"0": 0.75, "0.25": 0.75, "0.5": 0.75, "0.75": 0.25, "1": 0.0}


@pytest.mark.parametrize("rate", [-0.01, 1.01, np.nan])
def test_rates_outside_0_and_1_are_refused(rate):
    with pytest.raises(ValueError, match="is not a false-alarm rate"):
        detection(table([1], [0]), fprs=[rate])


@pytest.mark.parametrize("parameters", [(0, 1, 1), (1, 1, 1), (0.01, 0, 1), (0.01, 1, -1), (np.nan, 1, 1)])
def test_impossible_operating_points_are_refused(parameters):
    with pytest.raises(ValueError, match="the prior must be within"):
        OperatingPoint(*parameters)
