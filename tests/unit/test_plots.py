"""Score, calibration and training plots: what a reader takes from them must be where the figures say."""

from __future__ import annotations

import io

import numpy as np
import pytest

from speakerlab.metrics import calibration_plot, det_plot, plot_style, score_plot, training_plot
from speakerlab.metrics.bootstrap import DetBand
from speakerlab.metrics.error_curve import equal_error_threshold, error_curve
from speakerlab.metrics.log_likelihood_ratio import bayes_error_curve
from speakerlab.metrics.operating_points import DEFAULT_POINTS
from speakerlab.metrics.sorted_scores import sort_scores


def normal_llr(distance, *, scale=1.0, num=20000, seed=0):
    """Ratios of two normal densities at this distance, which are calibrated, times ``scale``."""
    rng = np.random.default_rng(seed)
    means = distance**2 / 2
    targets = rng.normal(means, distance, num // 4)
    return sort_scores(scale * targets, scale * rng.normal(-means, distance, num))


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_histograms_have_area_one_and_mark_the_eer():
    systems = {"a": normal_llr(2), "b": normal_llr(3)}
    figure = score_plot.draw(systems)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b"]
    for axes, scores in zip(figure.axes, systems.values(), strict=True):
        steps = [patch for patch in axes.patches if not patch.get_fill()]
        assert len(steps) == 2
        for patch in steps:
            values, edges, _ = patch.get_data()
            assert (values * np.diff(edges)).sum() == pytest.approx(1)
        (line,) = axes.get_lines()
        assert line.get_xdata()[0] == equal_error_threshold(scores)
    assert texts(figure.axes[-1].get_legend()) == ["non-targets", "targets", "threshold of the EER"]


def test_equal_scores_are_drawn():
    figure = score_plot.draw({"a": sort_scores(np.ones(3), np.ones(5))})
    figure.savefig(io.BytesIO(), format="png")


def test_bayes_error_is_that_of_the_curve():
    scores = normal_llr(3)
    curve = bayes_error_curve(scores)
    figure = calibration_plot.draw_bayes_error({"a": curve, "b": curve}, llr={"a": True, "b": False})
    normalised, rates = figure.axes
    drawn = {line.get_label(): line for line in rates.get_lines()}
    actual = drawn["a: scores as they are"].get_xydata()
    middle = np.argmin(np.abs(actual[:, 0]))
    is_error = (scores.targets < 0).mean() / 2 + (scores.nontargets >= 0).mean() / 2
    assert actual[middle] == pytest.approx([0, is_error])
    assert "b: best calibration" in drawn
    assert "b: scores as they are" not in drawn
    label = "operating points: " + ", ".join(map(str, DEFAULT_POINTS.values()))
    assert drawn[label].get_xdata()[0] == pytest.approx(np.log(0.01 / 0.99))
    assert max(normalised.get_lines()[1].get_ydata()) <= 1


def test_reliability_of_hand_made_bins():
    """60 targets and 120 non-targets at the scores 0 and 1, ten of either kind of the targets' rarer one."""
    targets = np.repeat([0.0, 1.0], [20, 40])
    nontargets = np.repeat([0.0, 1.0], [100, 20])
    found = calibration_plot.reliability(sort_scores(targets, nontargets))
    # Half-open bins but for the last: both scores fall into the only bin between the quantiles 0 and 1.
    assert found.kept == pytest.approx([0.0])
    assert found.promised == pytest.approx([(40 + 20) / 180])
    targets = np.concatenate([targets, [2.0]])
    found = calibration_plot.reliability(sort_scores(targets, nontargets))
    prior = np.log(61 / 120)
    assert found.kept == pytest.approx([np.log(20 / 100) - prior, np.log(41 / 20) - prior])
    assert found.promised == pytest.approx([0.0, 62 / 61])
    assert (found.low < found.kept).all()
    assert (found.kept < found.high).all()


def test_calibrated_scores_keep_what_they_promise():
    found = calibration_plot.reliability(normal_llr(2.5, num=400_000))
    inner = np.abs(found.promised) < 4
    assert inner.sum() > 10
    assert found.kept[inner] == pytest.approx(found.promised[inner], abs=0.25)
    doubled = calibration_plot.reliability(normal_llr(2.5, scale=2, num=400_000))
    inner = np.abs(doubled.promised) < 8
    assert doubled.kept[inner] == pytest.approx(doubled.promised[inner] / 2, abs=0.25)


@pytest.mark.parametrize(
    ("targets", "nontargets"), [([1.0], [1.0]), ([5.0, 6.0], [1.0, 2.0]), ([0.0], [1.0])]
)
def test_extreme_scores_are_drawn(targets, nontargets):
    scores = {"a": sort_scores(np.array(targets), np.array(nontargets))}
    calibration_plot.draw_reliability(scores).savefig(io.BytesIO(), format="png")
    curves = {name: bayes_error_curve(known) for name, known in scores.items()}
    calibration_plot.draw_bayes_error(curves, llr={"a": True}).savefig(io.BytesIO(), format="png")


def test_reliability_names_every_system():
    figure = calibration_plot.draw_reliability({"a": normal_llr(2), "b": normal_llr(2, scale=3)})
    assert texts(figure.axes[0].get_legend()) == ["perfect calibration", "a", "b"]


def test_training_curves_leave_gaps():
    figure = training_plot.draw([1, 2, 3], {"loss": [8.0, 6.0, 5.0], "validation EER": [None, 0.3, None]})
    loss, eer = figure.axes
    assert loss.get_lines()[0].get_xydata().tolist() == [[1, 8], [2, 6], [3, 5]]
    assert np.isnan(eer.get_lines()[0].get_ydata()).tolist() == [True, False, True]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "validation EER"]


def test_the_band_of_a_det_plot_is_where_its_rates_are():
    curve = error_curve(normal_llr(2))
    band = DetBand(np.array([1e-9, 0.1, 0.2]), np.array([0.0, 0.2, 0.1]), np.array([1.0, 0.4, 0.3]))
    figure = det_plot.draw({"list": {"a": curve, "b": curve}}, bands={"list": {"b": band}})
    (shade,) = figure.axes[0].collections
    corners = shade.get_paths()[0].vertices
    wanted = det_plot.ndtri([[0.1, 0.2], [0.1, 0.4], [0.2, 0.1], [0.2, 0.3]])  # 1e-9 is below half a trial
    for corner in wanted:
        assert np.abs(corners - corner).sum(axis=1).min() < 1e-9
    assert corners[:, 0].min() == pytest.approx(wanted[0, 0])
    assert "95 % over speakers" in texts(figure.legends[0])


def test_long_names_lose_their_middle():
    assert plot_style.shortened("campplus") == "campplus"
    assert plot_style.shortened("0123456789", 9) == "012...789"


def test_svg_is_the_same_each_time_and_asks_for_no_font():
    first, second = (plot_style.svg(score_plot.draw({"a": normal_llr(2)})) for _ in range(2))
    assert first == second
    assert b"font-family" not in first
    assert b"<text" not in first
