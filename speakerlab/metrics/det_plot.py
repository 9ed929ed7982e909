"""Detection error trade-off plots: miss against false-alarm rate, both axes on the normal-deviate scale.

In: error curves by panel and system; out: a matplotlib ``Figure`` for the caller to save.
``det_plot.draw({"eval": {"campplus": error_curve(scores)}}).savefig("det.png")``
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from speakerlab.metrics.bootstrap import DetBand
from speakerlab.metrics.error_curve import ErrorCurve, equal_error_rate
from speakerlab.metrics.operating_points import DEFAULT_POINTS, OperatingPoint
from speakerlab.metrics.plot_style import line_style, new_figure, shortened
from speakerlab.types import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: the square of a panel, its margins, a line of legend below it.
SQUARE, LEFT, RIGHT, TOP, BOTTOM, LEGEND_LINE = 4.6, 0.65, 0.25, 0.4, 0.6, 0.23
MARKER_COLUMNS = 2  # of the legend that explains the marks
LABELLED_PERCENT = (0.01, 0.1, 1, 2, 5, 10, 20, 40, 60, 80, 90)
GRID_PERCENT = (0.02, 0.05, 0.2, 0.5, 30, 50)
POINT_MARKERS = ("s", "^", "D", "v", "P")
MARKER: dict[str, Any] = {"markeredgecolor": "white", "markersize": 7, "linestyle": "none", "zorder": 3}


# False-alarm rates, evenly spaced on the axis: where to ask for a band.
BAND_P_FA = ndtr(np.linspace(ndtri(1e-5), ndtri(0.99), 120))
BAND_P_FA.setflags(write=False)


@dataclass(frozen=True)
class _Line:
    """A curve on the normal-deviate scale and its marked points, the EER first.

    ``band`` has the false-alarm rates, the lower and the upper miss rates of the interval, [3, G].
    """

    name: str
    eer: float
    x: Float64Array
    y: Float64Array
    marks: list[tuple[float, float]]
    band: Float64Array | None


def draw(
    panels: Mapping[str, Mapping[str, ErrorCurve]],
    points: Mapping[str, OperatingPoint] = DEFAULT_POINTS,
    bands: Mapping[str, Mapping[str, DetBand]] = MappingProxyType({}),
) -> Figure:
    """One panel per trial list, one curve per system, with the EER and the minimum-cost points marked.

    A rate of zero is drawn at half a trial, below what a list of that size can resolve; the axes are those of
    Martin et al., "The DET curve in assessment of detection task performance", 1997. They reach from half
    the lowest marked rate to 60 %, or to 95 % where an EER is above 30 %; marks beyond are not shown.

    Args:
        panels: title -> system name -> its error curve.
        points: operating points to mark, at most five.
        bands: title -> system name -> interval of the miss rate, shaded; best at ``BAND_P_FA``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    lines = {
        title: [_line(name, curve, points, bands.get(title, {}).get(name)) for name, curve in curves.items()]
        for title, curves in panels.items()
    }
    num_columns = 2 if len(panels) == 4 else min(len(panels), 3)
    num_rows = math.ceil(len(panels) / num_columns)
    width = LEFT + SQUARE + RIGHT
    has_band = any(bands.values())
    num_lines = math.ceil((1 + len(points) + has_band) / MARKER_COLUMNS)
    height = TOP + SQUARE + BOTTOM + LEGEND_LINE * max(map(len, panels.values()))
    figure = new_figure(width * num_columns, height * num_rows + (num_lines + 0.5) * LEGEND_LINE)
    limits = _limits([line for of_panel in lines.values() for line in of_panel])
    for number, (title, of_panel) in enumerate(lines.items()):
        row, column = divmod(number, num_columns)
        corner = width * column + LEFT, figure.get_figheight() - height * row - TOP - SQUARE
        axes = _add_axes(figure, title, corner, limits)
        _draw_lines(axes, of_panel)
    _explain_markers(figure, points, has_band=has_band)
    return figure


def _line(name: str, curve: ErrorCurve, points: Mapping[str, OperatingPoint], band: DetBand | None) -> _Line:
    p_miss, p_fa = curve.p_miss, curve.p_fa
    eer = equal_error_rate(p_miss, p_fa)
    x, y = _probit(p_fa, curve.num_nontargets), _probit(p_miss, curve.num_targets)
    marks = [(float(_probit(eer, curve.num_nontargets)), float(_probit(eer, curve.num_targets)))]
    for point in points.values():
        best = np.argmin(point.cost(p_miss, p_fa))
        marks.append((float(x[best]), float(y[best])))
    shown = _visibly_distinct(x, y)
    edges = None
    if band is not None:
        within = band.p_fa >= 0.5 / curve.num_nontargets  # further left there is nothing to estimate from
        miss = (_probit(edge[within], curve.num_targets) for edge in (band.low, band.high))
        edges = np.stack([ndtri(band.p_fa[within]), *miss])
    return _Line(name, float(eer), x[shown], y[shown], marks, edges)


def _probit(rates: Float64Array, num_trials: int) -> Float64Array:
    floor = 0.5 / num_trials
    deviates: Float64Array = ndtri(np.clip(rates, floor, 1 - floor))
    return deviates


def _visibly_distinct(x: Float64Array, y: Float64Array) -> npt.NDArray[np.intp]:
    """Rows to draw: a curve of ten million points has a few thousand that differ on paper."""
    cells = np.round(np.stack((x, y)) * 500)
    moved = (cells[:, 1:] != cells[:, :-1]).any(axis=0)
    return np.flatnonzero(np.concatenate(([True], moved)))


def _limits(lines: list[_Line]) -> tuple[float, float]:
    """Lowest and highest rate of every axis, so that panels can be compared."""
    highest = 0.95 if max(line.eer for line in lines) > 0.3 else 0.6
    shown = [mark for line in lines for mark in line.marks if max(mark) < ndtri(highest)]
    lowest = 0.5 * ndtr(min(map(min, shown), default=0.0))
    return float(np.clip(lowest, 5e-5, 5e-3)), highest


def _add_axes(figure: Figure, title: str, corner: tuple[float, float], limits: tuple[float, float]) -> Axes:
    size = figure.get_size_inches()
    axes = figure.add_axes((*(corner / size), *(SQUARE / size)))
    low, high = ndtri(limits)
    within = [percent for percent in LABELLED_PERCENT if limits[0] <= percent / 100 <= limits[1]]
    minor = [percent for percent in GRID_PERCENT if limits[0] <= percent / 100 <= limits[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(np.array(within) / 100), labels=[f"{percent:g}" for percent in within])
        axis.set_ticks(ndtri(np.array(minor) / 100), minor=True)
    axes.set(xlim=(low, high), ylim=(low, high), title=title)
    axes.set(xlabel="false-alarm rate (%)", ylabel="miss rate (%)")
    axes.grid(visible=True, which="major", color="0.85", linewidth=0.8)
    axes.grid(visible=True, which="minor", color="0.93", linewidth=0.5)
    axes.plot((low, high), (low, high), color="0.75", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _draw_lines(axes: Axes, lines: list[_Line]) -> None:
    for number, line in enumerate(lines):
        style = line_style(number)
        hidden = [earlier for earlier in lines[:number] if _is_equal(line, earlier)]
        if hidden:  # as calibrated scores do the raw ones: let that line show between the dashes
            style = {**style, "linestyle": (0, (4, 4))}
        if line.band is not None and all(earlier.band is None for earlier in hidden):
            axes.fill_between(*line.band, color=style["color"], alpha=0.13, linewidth=0)
        label = f"{shortened(line.name)}: EER {100 * line.eer:.2f} %"
        axes.plot(line.x, line.y, label=label, **style)
        for shape, (x, y) in zip(("o", *POINT_MARKERS), line.marks, strict=False):
            axes.plot(x, y, shape, color=style["color"], **MARKER)
    # Below the axes: a curve may be anywhere inside.
    below = BOTTOM / SQUARE
    axes.legend(loc="upper left", bbox_to_anchor=(0, -below), borderaxespad=0, frameon=False)


def _is_equal(first: _Line, second: _Line) -> bool:
    return np.array_equal(first.x, second.x) and np.array_equal(first.y, second.y)


def _explain_markers(figure: Figure, points: Mapping[str, OperatingPoint], *, has_band: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = ["EER", *(f"minDCF({point})" for point in points.values())]
    shapes = zip(("o", *POINT_MARKERS), names, strict=False)
    handles: list[Any] = [
        Line2D([], [], marker=shape, color="0.4", label=name, **MARKER) for shape, name in shapes
    ]
    if has_band:
        handles.append(Patch(color="0.4", alpha=0.2, label="95 % over speakers"))
    left = (LEFT / figure.get_figwidth(), 0)
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=left, ncols=MARKER_COLUMNS, frameon=False)
