"""Tables of results: one object, written as aligned text for a terminal or as HTML for the report.

``for line in Table("", ["system", "EER %"], [["campplus", "1.00"]]).text(): ...``
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header.

    Attributes:
        title: what the table is about.
        header: names of the columns.
        rows: cells, as many as columns each.
        num_names: columns on the left that hold names; the others hold figures and stand to the right.
        notes: sentences below.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_names: int = 2
    notes: Sequence[str] = field(default_factory=tuple)

    def text(self) -> list[str]:
        """Aligned lines: header, rows, notes."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [self._line(cells, widths) for cells in (self.header, *self.rows)]
        return [*lines, *self.notes]

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        placed = (
            cell.ljust(width) if column < self.num_names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(placed).rstrip()

    def html(self) -> str:
        """A ``<table>`` that scrolls on narrow screens, and its notes."""
        rows = "\n".join(self._html_row(cells, "td") for cells in self.rows)
        head = f"<thead>{self._html_row(self.header, 'th')}</thead>"
        notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in self.notes)
        return f'<div class="wide"><table>{head}<tbody>\n{rows}\n</tbody></table></div>{notes}'

    def _html_row(self, cells: Sequence[str], tag: str) -> str:
        columns = "".join(
            f"<{tag}{' class=name' if column < self.num_names else ''}>{html.escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{columns}</tr>"


def figure(
    value: float, interval: tuple[float, float] | None = None, *, digits: int, scale: float = 1
) -> str:
    """``2.91 [0.80, 5.04]``: a number and, where there is one, its interval, times ``scale``."""
    text = f"{scale * value:.{digits}f}"
    if interval is None:
        return text
    low, high = interval
    return f"{text} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
