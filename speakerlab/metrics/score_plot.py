"""Histograms of the scores of targets and non-targets, one panel per system.

In: sorted scores by system; out: a matplotlib ``Figure``.
``score_plot.draw({"campplus": sorted_scores(table)}).savefig("scores.png")``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from speakerlab.metrics.error_curve import equal_error_threshold
from speakerlab.metrics.plot_style import NONTARGET_COLOUR, TARGET_COLOUR, legend_below, new_figure, plain
from speakerlab.metrics.sorted_scores import SortedScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
WIDTH, PANEL, TOP, BOTTOM, GAP, LEFT, RIGHT = 5.4, 1.7, 0.3, 0.85, 0.65, 0.2, 0.2
MAX_BINS = 80


def draw(systems: Mapping[str, SortedScores]) -> Figure:
    """One panel below the other; each kind of trial has area 1, and the threshold of the EER is marked.

    Scores of different systems have different scales, and so have the axes.

    Args:
        systems: name -> scores.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    height = TOP + PANEL * len(systems) + GAP * (len(systems) - 1) + BOTTOM
    figure = new_figure(WIDTH, height)
    for row, (name, scores) in enumerate(systems.items()):
        bottom = height - TOP - PANEL - row * (PANEL + GAP)
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, 1 - (LEFT + RIGHT) / WIDTH, PANEL / height))
        _draw_panel(axes, scores)
        axes.set_title(name, fontsize=10, loc="left")
    axes.set_xlabel("score")
    legend_below(axes, num_columns=3)
    return figure


def _draw_panel(axes: Axes, scores: SortedScores) -> None:
    low = min(scores.targets[0], scores.nontargets[0])
    high = max(scores.targets[-1], scores.nontargets[-1])
    num_bins = int(np.clip(np.sqrt(len(scores.targets)), 15, MAX_BINS))
    edges = np.linspace(low, high if high > low else low + 1, num_bins + 1)
    kinds = (
        (scores.nontargets, "non-targets", NONTARGET_COLOUR),
        (scores.targets, "targets", TARGET_COLOUR),
    )
    for values, label, colour in kinds:
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(density, edges, color=colour, linewidth=1.2, label=label)
    threshold = equal_error_threshold(scores)
    axes.axvline(threshold, color="0.25", linestyle="--", linewidth=1, label="threshold of the EER")
    plain(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False, labelleft=False)  # densities of scores have no unit worth reading
    axes.set_ylim(bottom=0)
