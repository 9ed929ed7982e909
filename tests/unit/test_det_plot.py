"""DET plots: what a reader takes from them must be where the figures say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.stats import norm

from speakerlab.metrics import det_plot
from speakerlab.metrics.detection import detection
from speakerlab.metrics.error_curve import error_curve
from speakerlab.types import ScoreTable, TrialList


def normal_table(distance, *, num=4000, seed=0):
    rng = np.random.default_rng(seed)
    labels = (np.arange(num) % 4 == 0).astype(np.int8)
    ids = [str(row) for row in range(num)]
    return ScoreTable(TrialList(ids, ids, labels), rng.standard_normal(num) + distance * labels)


def lines_of(axes):
    """Curves and markers by their colour and shape, the diagonal left out."""
    return [line for line in axes.get_lines() if line.get_color() != "0.75"]


def test_panels_curves_and_legends():
    curves = {name: error_curve(normal_table(distance)) for name, distance in (("a", 1.5), ("b", 3))}
    figure = det_plot.draw({"one": curves, "two": {"a": curves["a"]}, "three": curves, "four": curves})
    assert [axes.get_title() for axes in figure.axes] == ["one", "two", "three", "four"]
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    eers = [100 * detection(normal_table(distance)).eer for distance in (1.5, 3)]
    assert texts == [f"a: EER {eers[0]:.2f} %", f"b: EER {eers[1]:.2f} %"]
    meanings = [text.get_text() for text in figure.legends[0].get_texts()]
    assert meanings == ["EER", "minDCF(0.01)", "minDCF(0.05)"]


def test_axes_are_normal_deviates_and_marks_are_at_the_metrics():
    table = normal_table(3)
    metrics = detection(table)
    axes = det_plot.draw({"list": {"a": error_curve(table)}}).axes[0]
    curve, eer, cost_01, cost_05 = lines_of(axes)
    assert eer.get_xydata()[0] == pytest.approx([norm.ppf(metrics.eer)] * 2, abs=1e-9)
    for mark, p_target, name in ((cost_01, 0.01, "0.01"), (cost_05, 0.05, "0.05")):
        p_fa, p_miss = norm.cdf(mark.get_xydata()[0])
        cost = (p_target * p_miss + (1 - p_target) * p_fa) / p_target
        assert cost == pytest.approx(metrics.min_dcf[name], abs=0.02)  # a rate of 0 is drawn above 0
    # Normal scores of equal variance are a straight line of slope -1 at the distance of the means.
    inner = (curve.get_xdata() > -1.8) & (curve.get_ydata() > -1.8)
    assert (curve.get_xdata() + curve.get_ydata())[inner] == pytest.approx(-3, abs=0.25)


def test_a_curve_that_lies_on_another_lets_it_show():
    table = normal_table(3)
    calibrated = ScoreTable(table.trials, 2 * table.scores - 1)
    tables = {"a": table, "calibrated": calibrated, "b": normal_table(1.5)}
    axes = det_plot.draw({"list": {name: error_curve(one) for name, one in tables.items()}}).axes[0]
    curves = {line.get_label().partition(":")[0]: line for line in lines_of(axes) if ":" in line.get_label()}
    assert [curves[name].is_dashed() for name in tables] == [False, True, False]
    assert curves["a"].get_xydata() == pytest.approx(curves["calibrated"].get_xydata())


def test_tick_labels_are_percents_at_their_deviates():
    axes = det_plot.draw({"list": {"a": error_curve(normal_table(3))}}).axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        labels = [text.get_text() for text in axis.get_ticklabels()]
        assert labels == ["0.1", "1", "2", "5", "10", "20", "40", "60"]
        assert norm.cdf(axis.get_ticklocs()) * 100 == pytest.approx([float(text) for text in labels])


@pytest.mark.parametrize(("distance", "num"), [(0, 100), (50, 100), (50, 4), (-5, 50)])
def test_extreme_systems_stay_within_the_axes(distance, num):
    figure = det_plot.draw({"list": {"a": error_curve(normal_table(distance, num=num))}})
    figure.savefig(io.BytesIO(), format="png")
    for line in lines_of(figure.axes[0]):
        assert np.isfinite(line.get_xydata()).all()


def test_a_large_list_is_thinned_to_what_can_be_seen():
    curve = lines_of(det_plot.draw({"x": {"a": error_curve(normal_table(2, num=10**5))}}).axes[0])[0]
    assert 500 < len(curve.get_xdata()) < 10000
    steps = np.abs(np.diff(curve.get_xydata(), axis=0)).max(axis=1)
    assert np.median(steps) < 0.01
