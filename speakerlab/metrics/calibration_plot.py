"""Plots of scores as log-likelihood ratios: Bayes error by prior (APE), and reliability.

In: ``BayesErrorCurve`` or ``SortedScores`` by system; out: a matplotlib ``Figure``.
``calibration_plot.draw_bayes_error({"calibrated": bayes_error_curve(table)}).savefig("bayes_error.png")``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv, logit

from speakerlab.metrics.log_likelihood_ratio import BayesErrorCurve
from speakerlab.metrics.operating_points import DEFAULT_POINTS, OperatingPoint
from speakerlab.metrics.plot_style import legend_below, line_style, new_figure, plain, shortened
from speakerlab.metrics.sorted_scores import SortedScores
from speakerlab.types import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: a panel, its margins, a line of legend.
WIDTH, PANEL, LEFT, RIGHT, TOP, GAP, BOTTOM, LEGEND_LINE = 5.4, 2.3, 0.75, 0.2, 0.35, 0.45, 0.65, 0.23
SQUARE = 4.4
MAX_BINS = 15
MIN_IN_BIN = 30
DEFAULT_LINE: dict[str, Any] = {"color": "0.4", "linewidth": 1.2, "linestyle": ":"}
REACH = 10.0  # log-odds shown on either side of 0


@dataclass(frozen=True)
class Reliability:
    """What log-likelihood ratios promise and what they keep, by bin.

    Attributes:
        promised: float64 [B], mean ratio of the trials in a bin.
        kept: float64 [B], log of the share of all targets in the bin over that of all non-targets.
        low: float64 [B], lower end of its 95 % interval, as if trials were independent.
        high: float64 [B], upper end.
    """

    promised: Float64Array
    kept: Float64Array
    low: Float64Array
    high: Float64Array


def draw_bayes_error(
    curves: Mapping[str, BayesErrorCurve],
    *,
    llr: Mapping[str, bool],
    points: Mapping[str, OperatingPoint] = DEFAULT_POINTS,
) -> Figure:
    """Error rate of Bayes decisions by prior (APE plot), above it the same over that of ignoring the speech.

    Brummer and du Preez, "Application-independent evaluation of speaker detection", 2006 (APE); Brummer and
    de Villiers, "The BOSARIS toolkit", 2011 (normalised).

    Args:
        curves: name -> curve.
        llr: name -> whether its scores are log-likelihood ratios; the others have only a minimum.
        points: operating points to mark by their effective prior.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    num_lines = sum(2 if llr[name] else 1 for name in curves) + 2
    height = TOP + 2 * PANEL + GAP + BOTTOM + LEGEND_LINE * num_lines
    figure = new_figure(WIDTH, height)
    panels = []
    for row in range(2):
        bottom = height - TOP - PANEL - row * (PANEL + GAP)
        panels.append(
            figure.add_axes((LEFT / WIDTH, bottom / height, 1 - (LEFT + RIGHT) / WIDTH, PANEL / height))
        )
    for number, (name, curve) in enumerate(curves.items()):
        _draw_errors(panels, name, curve, number, with_actual=llr[name])
    first = next(iter(curves.values()))
    panels[0].axhline(1, **DEFAULT_LINE)
    panels[1].plot(first.log_odds, first.default_error, label="ignoring the speech", **DEFAULT_LINE)
    for axes in panels:
        _mark_points(axes, points)
        plain(axes)
        axes.set_xlim(-REACH, REACH)
        axes.set_xticks(np.linspace(-REACH, REACH, 9))
    panels[0].set(ylim=(0, 1.3), ylabel="normalised error")
    panels[0].tick_params(labelbottom=False)
    worst = max(float((curve.minimum * curve.default_error).max()) for curve in curves.values())
    panels[1].set(
        ylim=(0, np.clip(1.8 * worst, 0.01, 0.5)), ylabel="error rate", xlabel="log-odds of the prior"
    )
    legend_below(panels[1])
    return figure


def _draw_errors(
    panels: list[Axes], name: str, curve: BayesErrorCurve, number: int, *, with_actual: bool
) -> None:
    colour = line_style(number)["color"]
    for axes, scale in zip(panels, (np.ones_like(curve.log_odds), curve.default_error), strict=True):
        if with_actual:
            label = f"{shortened(name)}: scores as they are"
            axes.plot(curve.log_odds, scale * curve.actual, color=colour, linewidth=1.6, label=label)
        label = f"{shortened(name)}: best calibration"
        axes.plot(
            curve.log_odds, scale * curve.minimum, color=colour, linewidth=1.3, linestyle="--", label=label
        )


def _mark_points(axes: Axes, points: Mapping[str, OperatingPoint]) -> None:
    names = ", ".join(map(str, points.values()))
    for number, point in enumerate(points.values()):
        label = f"operating points: {names}" if number == 0 else None
        axes.axvline(point.log_odds, color="0.6", linewidth=0.9, label=label, zorder=1)


def reliability(scores: SortedScores) -> Reliability:
    """Bins of about equal numbers of targets and of non-targets, by rank; the intervals are Jeffreys'.

    A bin without targets, or without non-targets, has an unknown ratio at one end and is left out.
    """
    edges = _edges(scores)
    every = np.concatenate([scores.targets, scores.nontargets])
    targets, nontargets = (np.histogram(values, edges)[0] for values in (scores.targets, scores.nontargets))
    sums = np.histogram(every, edges, weights=every)[0]
    both = (targets > 0) & (nontargets > 0)
    targets, nontargets, sums = targets[both], nontargets[both], sums[both]
    prior = np.log(len(scores.targets) / len(scores.nontargets))
    low, high = (
        logit(betaincinv(targets + 0.5, nontargets + 0.5, share)) - prior for share in (0.025, 0.975)
    )
    return Reliability(sums / (targets + nontargets), np.log(targets / nontargets) - prior, low, high)


def _edges(scores: SortedScores) -> Float64Array:
    """Quantiles of either kind, so that bins are narrow where their scores meet."""
    edges = []
    for values in (scores.targets, scores.nontargets):
        num_bins = int(np.clip(len(values) // MIN_IN_BIN, 1, MAX_BINS))
        edges.append(np.quantile(values, np.linspace(0, 1, num_bins + 1)))
    distinct = np.unique(np.concatenate(edges)).astype(np.float64)
    return distinct if len(distinct) > 1 else np.array([distinct[0], distinct[0] + 1])


def draw_reliability(systems: Mapping[str, SortedScores]) -> Figure:
    """Ratios that trials show against those that the scores promise; on the diagonal calibration is perfect.

    Args:
        systems: name -> log-likelihood ratios.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    height = TOP + SQUARE + BOTTOM + LEGEND_LINE * (len(systems) + 1)
    width = LEFT + SQUARE + RIGHT
    figure = new_figure(width, height)
    axes = figure.add_axes((LEFT / width, (height - TOP - SQUARE) / height, SQUARE / width, SQUARE / height))
    shown = [0.0]
    for number, (name, scores) in enumerate(systems.items()):
        found = reliability(scores)
        colour = line_style(number)["color"]
        spread = np.stack([found.kept - found.low, found.high - found.kept])
        # Jeffreys' interval of a lopsided bin can lie on one side of the ratio itself.
        bars: dict[str, Any] = {"yerr": np.maximum(spread, 0), "elinewidth": 1, "capsize": 2}
        axes.errorbar(
            found.promised, found.kept, fmt="o-", markersize=4, color=colour, label=shortened(name), **bars
        )
        shown += [*found.promised, *found.low, *found.high]
    low, high = min(shown) - 0.5, max(shown) + 0.5
    axes.plot((low, high), (low, high), color="0.5", linewidth=1, linestyle="--", label="perfect calibration")
    plain(axes)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="log-likelihood ratio of the scores")
    axes.set_ylabel("log-likelihood ratio of the trials")
    legend_below(axes)
    return figure
