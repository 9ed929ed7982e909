"""Training curves: whatever was logged of each epoch, one panel per quantity.

In: columns of ``train.jsonl``; out: a matplotlib ``Figure``. ``training_plot.draw([1, 2], {"loss": [8, 6]})``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from speakerlab.metrics.plot_style import COLOURS, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, PANEL, TOP, BOTTOM, GAP, LEFT, RIGHT = 5.4, 1.2, 0.3, 0.55, 0.4, 0.75, 0.2  # inches


def draw(epochs: Sequence[int], columns: Mapping[str, Sequence[float | None]]) -> Figure:
    """One panel below the other over the epochs; an epoch without a value leaves a gap.

    Args:
        epochs: numbers of the epochs.
        columns: label -> value of each epoch.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    height = TOP + PANEL * len(columns) + GAP * (len(columns) - 1) + BOTTOM
    figure = new_figure(WIDTH, height)
    for row, (label, values) in enumerate(columns.items()):
        bottom = height - TOP - PANEL - row * (PANEL + GAP)
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, 1 - (LEFT + RIGHT) / WIDTH, PANEL / height))
        numbers = [float("nan") if value is None else value for value in values]
        axes.plot(epochs, numbers, color=COLOURS[row % len(COLOURS)], linewidth=1.6, marker=".")
        axes.set_title(label, fontsize=10, loc="left")
        axes.locator_params(axis="x", integer=True)
        axes.locator_params(axis="y", nbins=4)
        plain(axes)
        if row < len(columns) - 1:
            axes.tick_params(labelbottom=False)
    axes.set_xlabel("epoch")
    return figure
