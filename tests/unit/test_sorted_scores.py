"""Scores from arrays and from tables: what is refused, what is exact, what is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.metrics import error_curve as error_curve_module
from speakerlab.metrics.detection import detection
from speakerlab.metrics.error_curve import equal_error_rate, error_curve
from speakerlab.metrics.sorted_scores import sort_scores, sorted_scores
from speakerlab.types import ScoreTable, TrialList


def normal_scores(num_targets, num_nontargets, *, dtype=np.float64, decimals=2):
    rng = np.random.default_rng(3)
    found = rng.normal(2, 1, num_targets), rng.normal(0, 1, num_nontargets)
    return [scores.round(decimals).astype(dtype) for scores in found]


def as_table(targets, nontargets):
    ids = [str(row) for row in range(len(targets) + len(nontargets))]
    labels = np.repeat([1, 0], [len(targets), len(nontargets)]).astype(np.int8)
    return ScoreTable(TrialList(ids, ids, labels, "list"), np.concatenate([targets, nontargets]))


def test_arrays_and_tables_are_measured_alike():
    scores = normal_scores(50, 400)
    assert detection(sort_scores(*scores), llr=True) == detection(as_table(*scores), llr=True)


def test_the_callers_arrays_are_sorted_only_if_asked():
    targets, nontargets = normal_scores(50, 400)
    before = targets.copy(), nontargets.copy()
    sort_scores(targets, nontargets)
    assert np.array_equal(targets, before[0])
    assert np.array_equal(nontargets, before[1])
    found = sort_scores(targets, nontargets, in_place=True)
    assert found.targets is targets
    assert np.array_equal(nontargets, np.sort(before[1]))


def test_a_table_is_never_changed():
    table = as_table(*normal_scores(50, 400))
    before = table.scores.copy()
    sorted_scores(table)
    assert np.array_equal(table.scores, before)


def test_single_precision_stays_and_is_measured_like_the_same_numbers_in_double():
    single = normal_scores(300, 200, dtype=np.float32)
    found = sort_scores(*single)
    assert found.targets.dtype == found.nontargets.dtype == np.float32
    assert detection(found, llr=True) == detection(
        sort_scores(*(s.astype(np.float64) for s in single)), llr=True
    )


def test_mixed_and_integer_scores_become_double():
    assert sort_scores(np.array([3, 1]), np.array([0.5], dtype=np.float32)).targets.tolist() == [1.0, 3.0]


def test_thresholds_are_not_rounded_to_the_precision_of_the_scores():
    tenth = np.float32(0.1)  # 0.100000001490116
    scores = sort_scores(np.array([tenth]), np.array([tenth]))
    assert scores.num_below(0.1) == (0, 0)
    assert scores.num_below(0.1000001) == (1, 1)


@pytest.mark.parametrize(("num_targets", "num_nontargets"), [(40, 300), (300, 40), (100, 100)])
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_corners_are_those_of_counting_at_every_threshold(num_targets, num_nontargets, decimals):
    targets, nontargets = normal_scores(num_targets, num_nontargets, decimals=decimals)
    thresholds = [*np.unique(np.concatenate([targets, nontargets])), np.inf]
    every = {t: (int((targets < t).sum()), int((nontargets >= t).sum())) for t in thresholds}
    curve = error_curve(sort_scores(targets, nontargets))
    kept = dict(zip(curve.thresholds.tolist(), zip(curve.num_miss, curve.num_fa, strict=True), strict=True))
    assert kept == {t: every[t] for t in kept}
    assert next(iter(kept)) == thresholds[0]
    assert list(kept)[-1] == np.inf
    # what is left out lies on the horizontal or vertical line between its neighbours
    path = [every[t] for t in thresholds]
    for before, point, after, threshold in zip(path, path[1:], path[2:], thresholds[1:], strict=False):
        straight = before[0] == point[0] == after[0] or before[1] == point[1] == after[1]
        assert (threshold in kept) != straight


def test_blocks_change_nothing_that_is_measured(monkeypatch):
    scores = sort_scores(*normal_scores(80, 300))
    whole = detection(scores, llr=True)
    for size in (1, 7, 50):
        monkeypatch.setattr(error_curve_module, "BLOCK_SCORES", size)
        assert detection(scores, llr=True) == whole


def test_equal_error_threshold_has_the_closest_rates():
    for decimals in (0, 1, 8):
        targets, nontargets = normal_scores(70, 211, decimals=decimals)
        every = np.unique(np.concatenate([targets, nontargets]))
        gaps = [abs((targets < t).mean() - (nontargets >= t).mean()) for t in every]
        found = detection(sort_scores(targets, nontargets)).eer_threshold
        assert gaps[every.tolist().index(found)] == pytest.approx(min(gaps), abs=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["target", "nontarget"])
def test_non_finite_scores_in_arrays_are_refused(bad, kind):
    scores = {"target": np.array([0.1, 0.2, 0.3]), "nontarget": np.array([0.0, -1.0, 0.5])}
    scores[kind][1] = bad
    with pytest.raises(DataError, match=rf"dev: NaN or Inf among the {kind} scores \(1 of 3\)"):
        sort_scores(scores["target"], scores["nontarget"], name="dev")


@pytest.mark.parametrize(("sizes", "kind"), [((0, 3), "target"), ((3, 0), "nontarget"), ((0, 0), "target")])
def test_one_kind_of_array_is_refused(sizes, kind):
    with pytest.raises(DataError, match=f"scores: no {kind} trial"):
        sort_scores(*(np.zeros(size) for size in sizes))


def test_matrices_are_refused():
    with pytest.raises(DataError, match=r"nontarget scores of shape \(2, 2\)"):
        sort_scores(np.zeros(2), np.zeros((2, 2)))


def test_a_trial_listed_twice_is_refused():
    labels = np.array([1, 0, 0, 1], dtype=np.int8)
    trials = TrialList(["a", "a", "b", "a"], ["b", "c", "a", "b"], labels, "list")  # "b a" is another trial
    with pytest.raises(DataError, match=r"list: trial 'a b' is listed twice \(1 such trials\)"):
        detection(ScoreTable(trials, np.arange(4.0)))


def test_curves_of_separated_scores_are_short():
    scores = sort_scores(np.linspace(2, 3, 1000), np.linspace(0, 1, 5000))
    curve = error_curve(scores)
    assert curve.num_miss.tolist() == [0, 0, 1000]
    assert curve.num_fa.tolist() == [5000, 0, 0]
    assert equal_error_rate(curve.p_miss, curve.p_fa) == 0
