"""What all plots share: the import of matplotlib, colours, the look of the axes.

``figure = new_figure(6, 4)``; ``axes.plot(x, y, **line_style(0))``. Figures are made without pyplot, so that
nothing is kept in a global list and no screen is needed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from speakerlab.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
# Okabe and Ito (2008): told apart by colour-blind readers too; yellow and light blue, hard to see, come last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":")  # after every seven systems
TARGET_COLOUR, NONTARGET_COLOUR = "#0072B2", "#D55E00"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    return Figure((width, height), dpi=DPI)


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of the system with this number, from 0."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        "linewidth": 1.6,
    }


def shortened(name: str, num_letters: int = 34) -> str:
    """``name`` without its middle where a legend has no room for it."""
    half = (num_letters - 3) // 2
    return name if len(name) <= num_letters else f"{name[:half]}...{name[-half:]}"


def plain(axes: Axes) -> None:
    """A light grid behind the curves and no box around them."""
    axes.grid(visible=True, color="0.88", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(axes: Axes, *, num_columns: int = 1, gap: float = 0.5) -> None:
    """A legend ``gap`` inches under the axes: inside, it would lie over a curve sooner or later."""
    height = axes.get_position().height * axes.get_figure().get_figheight()  # type: ignore[union-attr]
    axes.legend(
        loc="upper left", bbox_to_anchor=(0, -gap / height), borderaxespad=0, frameon=False, ncols=num_columns
    )


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes each time; letters are drawn, so that no font is needed."""
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "speakerlab", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
