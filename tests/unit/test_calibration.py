"""Logistic calibration, fusion, quality measures, PAV and their file against peers, theory and hand cases."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from speakerlab.backend import calibration, calibration_file, pav, quality
from speakerlab.backend.calibration import Objective, train
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.errors import DataError
from speakerlab.metrics.log_likelihood_ratio import cllr
from speakerlab.types import ScoreTable, TrialList


def table(scores, labels):
    ids = [f"u{n}" for n in range(len(scores))]
    trials = TrialList(ids, ["t"] * len(ids), np.asarray(labels, dtype=np.int8), "dev/trials")
    return ScoreTable(trials, np.asarray(scores, dtype=np.float64))


def gaussian(num_targets, num_nontargets, seed=0, distance=2.0):
    """Scores of variance 1 around +-distance / 2: their log-likelihood ratio is distance * score."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [num_targets, num_nontargets])
    return table(rng.standard_normal(len(labels)) + distance * (labels - 0.5), labels)


def with_scores(like, scores):
    return ScoreTable(like.trials, np.asarray(scores, dtype=np.float64))


def raw(trained):
    scales, offset = trained.raw_scales()
    return np.array([*scales, offset])


def of_sklearn(matrix, labels, prior):
    """Scales and offset of scikit-learn's logistic regression with the weights of the definition."""
    num_targets = labels.sum()
    weights = np.where(labels == 1, prior / num_targets, (1 - prior) / (len(labels) - num_targets))
    peer = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    peer.fit(matrix, labels, 1e5 * weights)
    return np.array([*peer.coef_[0], peer.intercept_[0] - logit(prior)])


@pytest.mark.parametrize("prior", [0.5, 0.01, 0.001, 0.99])
def test_one_system_as_scikit_learn(prior):
    scored = gaussian(300, 5000)
    ours = raw(train(Inputs.of({"a": scored}), prior))
    np.testing.assert_allclose(
        ours, of_sklearn(scored.scores[:, None], scored.trials.labels, prior), atol=1e-5
    )


@pytest.mark.parametrize("prior", [0.5, 0.05])
def test_fusion_with_measures_as_scikit_learn(prior):
    scored, rng = gaussian(400, 3000), np.random.default_rng(1)
    other = with_scores(scored, 30 + 5 * (scored.scores + rng.standard_normal(len(scored.scores))))
    lengths = rng.uniform(0, 4, len(scored.scores))
    inputs = Inputs.of({"a": scored, "b": other}, {"min-log:utt2dur": lengths})
    ours, peer = raw(train(inputs, prior)), of_sklearn(inputs.matrix, scored.trials.labels, prior)
    np.testing.assert_allclose(ours, peer, rtol=1e-5, atol=1e-5)


def test_gradient_and_hessian_are_those_of_the_cost():
    rng = np.random.default_rng(2)
    columns, is_target = rng.standard_normal((40, 3)), np.arange(40) % 3 == 0
    objective = Objective(columns, is_target, 0.1)
    at = rng.standard_normal(4)
    value, gradient = objective.value_and_gradient(at)
    assert value == pytest.approx(objective.cost(at), rel=1e-7)
    numeric = approx_fprime(at, lambda p: objective.value_and_gradient(p)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)
    numeric = approx_fprime(at, lambda p: objective.value_and_gradient(p)[1], 1e-7)
    np.testing.assert_allclose(objective.hessian(at), numeric, atol=1e-6)


def test_the_cost_by_hand():
    """Two targets and a non-target, p = 1/4: logit p = -log 3."""
    objective = Objective(np.array([[1.0], [2.0], [-1.0]]), np.array([True, True, False]), 0.25)
    misses = math.log(1 + 3 * math.exp(-1.5)) + math.log(1 + 3 * math.exp(-2.5))
    false_alarm = math.log(1 + math.exp(-0.5) / 3)
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    expected = (0.25 / 2 * misses + 0.75 * false_alarm) / entropy
    assert objective.cost(np.array([1.0, 0.5])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_the_likelihood_ratio_of_gaussians_is_recovered(prior):
    trained = train(Inputs.of({"a": gaussian(100_000, 100_000)}), prior)
    np.testing.assert_allclose(raw(trained), [2.0, 0.0], atol=0.03)


def test_cllr_is_the_least_that_an_affine_map_can_give():
    scored = with_scores(gaussian(50, 500), 100 + 0.05 * gaussian(50, 500).scores)
    trained = train(Inputs.of({"a": scored}))
    best = cllr(trained.llr(Inputs.of({"a": scored})))
    assert trained.cost == pytest.approx(best, rel=1e-12)
    assert best < 1
    (scale, offset), scores = raw(trained), scored.scores
    for change in itertools.product((-0.05, 0, 0.05), repeat=2):
        other = (1 + change[0]) * scale * scores + offset + change[0] * -100 * scale + change[1]
        assert cllr(with_scores(scored, other)) >= best


def test_order_of_trials_does_not_matter_to_the_last_bit():
    scored = gaussian(30, 200)
    other = np.random.default_rng(3).standard_normal(230)
    order = np.random.default_rng(4).permutation(230)
    turned = table(scored.scores[order], scored.trials.labels[order])
    first = train(Inputs.of({"a": scored}, {"q": other}))
    assert train(Inputs.of({"a": turned}, {"q": other[order]})) == first
    assert pav.train(Inputs.of({"a": turned})) == pav.train(Inputs.of({"a": scored}))


def test_order_of_systems_does_not_matter_by_name():
    a = gaussian(60, 200)
    b = with_scores(a, gaussian(60, 200, seed=5).scores)
    trained = train(Inputs.of({"a": a, "b": b}))
    first = trained.llr(Inputs.of({"a": a, "b": b})).scores
    np.testing.assert_array_equal(trained.llr(Inputs.of({"b": b, "a": a})).scores, first)
    turned = train(Inputs.of({"b": b, "a": a})).llr(Inputs.of({"a": a, "b": b})).scores
    np.testing.assert_allclose(turned, first, atol=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.7), (-40.0, 1e5), (1e6, -3.0)])
def test_affine_changes_of_the_inputs_change_nothing(scale, shift):
    scored = gaussian(60, 300)
    other = with_scores(scored, scale * scored.scores + shift)
    before = train(Inputs.of({"a": scored})).llr(Inputs.of({"a": scored}))
    after = train(Inputs.of({"a": other})).llr(Inputs.of({"a": other}))
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-6)


def test_noise_gets_no_weight_and_two_good_systems_help_each_other():
    a, b = gaussian(20_000, 20_000), gaussian(20_000, 20_000, seed=6)
    noise = with_scores(a, 7 * np.random.default_rng(7).standard_normal(40_000))
    trained = train(Inputs.of({"a": a, "noise": noise}))
    assert abs(trained.weights[1]) < 0.02 * trained.weights[0]
    fused = train(Inputs.of({"a": a, "b": with_scores(a, b.scores)}))
    np.testing.assert_allclose(raw(fused), [2, 2, 0], atol=0.1)  # independent: their LLRs add up
    assert fused.cost < 0.75 * trained.cost


def test_the_same_system_twice_is_that_system():
    scored = gaussian(60, 300)
    once, twice = train(Inputs.of({"a": scored})), train(Inputs.of({"a": scored, "b": scored}))
    assert twice.weights[0] == pytest.approx(twice.weights[1], rel=1e-6)
    assert sum(twice.weights) == pytest.approx(once.weights[0], rel=1e-6)


@pytest.mark.parametrize("prior", [0.5, 1e-3])
@pytest.mark.parametrize("gap", [8.0, 1e4])
def test_separable_trials_do_not_run_away(gap, prior):
    scored = gaussian(40, 50, distance=gap)
    assert scored.scores[:40].min() > scored.scores[40:].max()
    trained = train(Inputs.of({"a": scored}), prior)
    assert trained.is_separated
    assert 0 < trained.weights[0] < 100
    columns = (scored.scores[:, None] - trained.means) / trained.stds
    _, gradient = Objective(columns, scored.trials.labels == 1, prior).value_and_gradient(
        np.array([*trained.weights, trained.offset])
    )
    assert np.abs(gradient).max() < 1e-14  # the minimum, not where the steps ran out
    assert not train(Inputs.of({"a": gaussian(40, 50)}), prior).is_separated


def test_a_measure_shifts_what_scores_mean():
    """Short trials score 3 lower: with the measure that is undone, without it it is not."""
    scored = gaussian(5000, 5000)
    short = np.random.default_rng(8).uniform(size=10_000) < 0.5
    mixed = with_scores(scored, scored.scores - 3 * short)
    with_measure = train(Inputs.of({"a": mixed}, {"short": short}))
    np.testing.assert_allclose(raw(with_measure), [2, 6, 0], atol=0.2)
    assert with_measure.cost < 0.7 * train(Inputs.of({"a": mixed})).cost


FAULTS = {
    "no target trial among 3": lambda: train(Inputs.of({"a": table([1, 2, 3], [0, 0, 0])})),
    "no nontarget trial among 3": lambda: train(Inputs.of({"a": table([1, 2, 3], [1, 1, 1])})),
    "trial 'u1 t' has no label (2 such trials)": lambda: train(
        Inputs.of({"a": table([1, 2, 3], [1, -1, -1])})
    ),
    "'a' is nan for trial 'u1 t' (1 such trials)": lambda: Inputs.of({"a": table([1, np.nan, 3], [1, 0, 0])}),
    "'q' is inf for trial 'u0 t'": lambda: Inputs.of({"a": table([1, 2], [1, 0])}, {"q": [np.inf, 1]}),
    "'q' has shape (3,)": lambda: Inputs.of({"a": table([1, 2], [1, 0])}, {"q": [1, 2, 3]}),
    "'a' is 2 for every trial; leave it out": lambda: train(Inputs.of({"a": table([2, 2, 2], [1, 0, 0])})),
    "'q' is 0.1 for every trial": lambda: train(Inputs.of({"a": gaussian(9, 9)}, {"q": np.full(18, 0.1)})),
    "'a' has the mean 0 and the standard deviation inf": lambda: train(
        Inputs.of({"a": table([1e300, 0, -1e300], [1, 0, 0])})
    ),
    "'a' has the mean 5e-201 and the standard deviation 0": lambda: train(
        Inputs.of({"a": table([1e-200, 0], [1, 0])})
    ),
    "'a' has the mean 1e+15 and the standard": lambda: train(
        Inputs.of({"a": table([1e15 + 0.125, 1e15], [1, 0])})
    ),
    "no system to calibrate": lambda: Inputs.of({}),
    "holds no trial": lambda: Inputs.of({"a": table([], [])}),
    "'a' is the name of a system and": lambda: Inputs.of({"a": table([1, 2], [1, 0])}, {"a": [1, 2]}),
    "the scores of 'b' are of other trials": lambda: Inputs.of(
        {"a": table([1, 2], [1, 0]), "b": table([1, 2, 3], [1, 0, 0])}
    ),
    "PAV calibrates one system": lambda: pav.train(Inputs.of({"a": gaussian(9, 9)}, {"q": np.arange(18)})),
    "no nontarget trial among 2": lambda: pav.train(Inputs.of({"a": table([1, 2], [1, 1])})),
}


@pytest.mark.parametrize("why", FAULTS)
def test_what_cannot_be_calibrated_is_named(why):
    with pytest.raises(DataError) as error:
        FAULTS[why]()
    assert why in str(error.value)


def test_a_prior_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="not within"):
        train(Inputs.of({"a": gaussian(9, 9)}), 1.0)


def test_other_inputs_than_in_training_are_refused():
    a = gaussian(40, 50)
    trained = train(Inputs.of({"a": a, "b": with_scores(a, -(a.scores**3))}, {"q": np.arange(90)}))
    with pytest.raises(DataError, match="c.json: was trained on the systems a, b, not a; give the same"):
        trained.llr(Inputs.of({"a": a}, {"q": np.arange(90)}), "c.json")
    with pytest.raises(DataError, match="the systems a, b, not a, c"):
        trained.llr(Inputs.of({"a": a, "c": a}, {"q": np.arange(90)}))
    with pytest.raises(DataError, match=r"the quality measures q, not \(none\)"):
        trained.llr(Inputs.of({"a": a, "b": a}))
    with pytest.raises(DataError, match="the systems a, not z"):
        pav.train(Inputs.of({"a": a})).llr(Inputs.of({"z": a}))


def test_pav_by_hand_with_ties():
    """Groups 1: n; 2: t n (equal); 3: n; 4: t; 5: t. At each end a target and a non-target more."""
    scored = table([1, 2, 2, 3, 4, 5], [0, 1, 0, 0, 1, 1])
    trained = pav.train(Inputs.of({"a": scored}))
    # from below: 1/2 of 2, 0/1, 1/2 of 2, 0/1 pool to 2/6; above: 1, 1 and 1/2 of 2 pool to 3/4; prior odds 1
    low, high = math.log(2 / 4), math.log(3)
    assert trained.scores == (1, 3, 4, 5)
    np.testing.assert_allclose(trained.llrs, [low, low, high, high], rtol=1e-12)
    new = table([-9, 2.5, 3.5, 99], [-1, -1, -1, -1])
    mapped = trained.llr(Inputs.of({"a": new})).scores
    np.testing.assert_allclose(mapped, [low, low, (low + high) / 2, high], rtol=1e-12)
    assert trained.provenance == calibration.Provenance("dev/trials", 3, 3)


def test_pav_levels_that_do_not_pool_and_unequal_numbers():
    """10 non-targets, then t n, then 4 targets: three levels; prior odds 5/11."""
    scored = table([0] * 10 + [1] * 2 + [2] * 4, [0] * 10 + [1, 0] + [1] * 4)
    trained = pav.train(Inputs.of({"a": scored}))
    expected = np.log([1 / 11, 1.0, 5.0]) - math.log(5 / 11)
    np.testing.assert_allclose(
        trained.llr(Inputs.of({"a": scored})).scores[[0, 10, 15]], expected, rtol=1e-12
    )


def test_pav_as_scikit_learn():
    scored = gaussian(300, 2000)
    scores = np.round(scored.scores, 1)  # many ties
    inputs = Inputs.of({"a": with_scores(scored, scores)})
    mapped = pav.train(inputs).llr(inputs)
    ends = [-99, -99, 99, 99]
    peer = IsotonicRegression().fit(np.r_[scores, ends], np.r_[scored.trials.labels, 1, 0, 1, 0])
    np.testing.assert_allclose(mapped.scores, logit(peer.predict(scores)) - math.log(300 / 2000), atol=1e-9)


@pytest.mark.parametrize("scores", [[1, 2, 3, 4], [7, 7, 7, 7]])
def test_pav_is_finite_for_separable_and_for_useless_scores(scores):
    scored = table(scores, [0, 0, 1, 1])
    mapped = pav.train(Inputs.of({"a": scored})).llr(Inputs.of({"a": scored})).scores
    expected = math.log(3) if scores[0] < scores[-1] else 0.0
    np.testing.assert_allclose(mapped, np.repeat([-expected, expected], 2), atol=1e-12)


def test_quality_measures_take_the_lesser_and_the_greater_side():
    trials = TrialList(["a", "b", "c"], ["b", "a", "c"], np.array([0, 0, 1], np.int8))
    values = {"a": 2.0, "b": 8.0, "c": 1.0, "unused": -1.0}
    by_rule = {rule: quality.measure(values, trials, rule, "utt2dur").tolist() for rule in quality.RULES}
    assert by_rule["min"] == [2, 2, 1]
    assert by_rule["max"] == [8, 8, 1]
    np.testing.assert_allclose(by_rule["min-log"], [math.log(2), math.log(2), 0], rtol=1e-15)
    np.testing.assert_allclose(by_rule["max-log"], [math.log(8), math.log(8), 0], rtol=1e-15)


@pytest.mark.parametrize(
    ("values", "rule", "why"),
    [
        ({"a": 1.0}, "min", "no value for b (1 such ids of trials)"),
        ({"a": 1.0, "b": np.nan}, "min", "b has nan; min needs a finite number"),
        ({"a": 1.0, "b": 0.0}, "max-log", "b has 0; max-log needs a positive number"),
    ],
)
def test_unusable_quality_values_are_named(values, rule, why):
    trials = TrialList(["a"], ["b"], np.array([0], np.int8))
    with pytest.raises(DataError) as error:
        quality.measure(values, trials, rule, "utt2dur")
    assert str(error.value).startswith(f"utt2dur: {why}")


@pytest.mark.parametrize("kind", ["logistic", "pav"])
def test_a_file_gives_the_same_calibration(tmp_path, kind):
    inputs = Inputs.of({"a": gaussian(40, 50)})
    trained = train(inputs, 0.05) if kind == "logistic" else pav.train(inputs)
    path = tmp_path / "calibration.json"
    path.write_text(calibration_file.to_json(trained))
    again = calibration_file.load(path)
    assert again == trained
    np.testing.assert_array_equal(again.llr(inputs).scores, trained.llr(inputs).scores)
    assert json.loads(path.read_text())["provenance"] == {
        "trials": "dev/trials", "num_targets": 40, "num_nontargets": 50
    }  # fmt: skip


DAMAGES = {
    "no systems": ("logistic", lambda c: c.pop("systems")),
    "another kind": ("logistic", lambda c: c.update(kind="other")),
    "no provenance": ("pav", lambda c: c.update(provenance={})),
    "surplus": ("pav", lambda c: c.update(surplus=1)),
    "offset NaN": ("logistic", lambda c: c.update(offset=math.nan)),
    "weight infinite": ("logistic", lambda c: c.update(weights=[math.inf])),
    "weight a text": ("logistic", lambda c: c.update(weights=["1"])),
    "no spread": ("logistic", lambda c: c.update(stds=[0.0])),
    "no weight": ("logistic", lambda c: c.update(weights=[])),
    "a second system": ("logistic", lambda c: c.update(systems=["a", "b"])),
    "prior 1": ("logistic", lambda c: c.update(prior=1.0)),
    "llr NaN": ("pav", lambda c: c["llrs"].__setitem__(0, math.nan)),
    "scores fall": ("pav", lambda c: c["scores"].reverse()),
    "llrs fall": ("pav", lambda c: c["llrs"].reverse()),
    "an llr short": ("pav", lambda c: c["llrs"].pop()),
    "no points": ("pav", lambda c: c.update(scores=[], llrs=[])),
    "pav of two": ("pav", lambda c: c.update(systems=["a", "b"])),
    "pav with a measure": ("pav", lambda c: c.update(measures=["q"])),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path, name):
    kind, damage = DAMAGES[name]
    inputs = Inputs.of({"a": gaussian(40, 50)})
    content = json.loads(calibration_file.to_json(train(inputs) if kind == "logistic" else pav.train(inputs)))
    assert calibration_file.from_json(json.dumps(content), tmp_path)
    damage(content)
    with pytest.raises(DataError, match="c.json: is not an intact calibration"):
        calibration_file.from_json(json.dumps(content), tmp_path / "c.json")


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match="no.json: cannot be read: No such file"):
        calibration_file.load(tmp_path / "no.json")
    for number, content in enumerate((b"", b"[1]", b"{", b"\xff\xfe")):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(DataError, match="is not an intact calibration"):
            calibration_file.load(path)


def test_llrs_decide_like_the_posterior():
    """At the Bayes threshold of a prior the posterior of the logistic model is one half."""
    trained = train(Inputs.of({"a": gaussian(400, 4000)}), 0.2)
    llrs = trained.llr(Inputs.of({"a": table([raw(trained) @ [0, -1] / raw(trained)[0]], [-1])})).scores
    assert llrs == pytest.approx(0, abs=1e-12)
    assert expit(llrs + logit(0.2)) == pytest.approx(0.2)
