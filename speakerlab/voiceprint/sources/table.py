"""People from tables: Excel workbooks, CSV and TSV; columns by title, number or letter, paths by a template.

``read_csv(Path("people.csv"), Layout())``; ``read_workbook(Path("list.xlsx"), PRESETS["meeting"])``; each
gives a ``Listing``. A row is one recording: who speaks, and its path or what makes up its path.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.voiceprint.sources import workbook
from speakerlab.voiceprint.sources.listing import Cell, Lister, Listing
from speakerlab.voiceprint.sources.workbook import Row

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MAX_CSV = 256 << 20  # bytes
MAX_ROWS = 2 << 20  # of all sheets together
_FIELD = re.compile(r"\{([^{}]*)\}")
_FIELDS = ("sheet", "file", "name")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where names and recordings stand in a table.

    Attributes:
        name_column: of the speaker: a number from 0, a title, or a letter as in Excel.
        file_column: of the path, or of what ``template`` makes a path of.
        header_rows: rows above the first recording; the last of them holds the titles.
        template: path of a recording below the root, of ``{sheet}``, ``{file}`` and ``{name}``.
        sheets: names of the sheets to read; empty for all.
        skip_last: sheets at the end that are not read.
        fill_down: whether an empty name means that of the row above, as merged cells have it.

    Raises:
        SpeakerLabError: numbers below 0, a template with another field, or without any.
    """

    name_column: str = "name"
    file_column: str = "path"
    header_rows: int = 1
    template: str = "{file}"
    sheets: tuple[str, ...] = ()
    skip_last: int = 0
    fill_down: bool = False

    def __post_init__(self) -> None:
        if self.header_rows < 0 or self.skip_last < 0:
            raise SpeakerLabError("numbers of rows and sheets are 0 or more")
        fields = _FIELD.findall(self.template)
        if unknown := [one for one in fields if one not in _FIELDS]:
            why = f"the path template has {{{unknown[0]}}}"
            raise SpeakerLabError(f"{why}; use {', '.join(f'{{{one}}}' for one in _FIELDS)}")
        if "file" not in fields:
            raise SpeakerLabError("the path template needs {file}, else all rows name one recording")


# The lists of morning meetings: a sheet a day, and two sheets at the end that are none.
PRESETS = {"meeting": Layout("5", "0", 1, "{sheet}/wav/{file}.wav", (), 2)}


def read_workbook(path: Path, layout: Layout, root: str, *, allow_outside: bool = False) -> Listing:
    """What the chosen sheets of an Excel workbook list.

    Args:
        path: the workbook.
        layout: where what stands.
        root: folder of the recordings.
        allow_outside: whether paths may leave it.

    Raises:
        DataError: no workbook, too large, no such sheet or column, nothing listed.
        MissingExtraError: openpyxl or xlrd is not installed.
    """
    lister = Lister(root, allow_outside=allow_outside)
    left = MAX_ROWS
    with workbook.sheets(path) as found:
        for sheet in _chosen(path, list(found), layout):
            left = _read(lister, found[sheet](), layout, f"{path}, sheet {sheet!r}", sheet, left)
    return _filled(path, lister)


def _chosen(path: Path, names: list[str], layout: Layout) -> list[str]:
    if missing := [one for one in layout.sheets if one not in names]:
        shown = ", ".join(map(repr, names[:10]))
        raise DataError(path, f"has no sheet {missing[0]!r}", f"it has {shown}")
    chosen = [one for one in names if not layout.sheets or one in layout.sheets]
    if layout.skip_last >= len(chosen):
        why = f"has {len(chosen)} sheets, and {layout.skip_last} at the end are skipped"
        raise DataError(path, why, "give --skip-last-sheets a smaller number")
    return chosen[: len(chosen) - layout.skip_last]


def read_csv(
    path: Path,
    layout: Layout,
    root: str,
    *,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    allow_outside: bool = False,
) -> Listing:
    """What a CSV or TSV file lists; which delimiter it has is noted.

    Args:
        path: the file.
        layout: where what stands.
        root: folder of the recordings.
        delimiter: between cells; None for the one by which the first row has both columns.
        encoding: of the text; a mark at its beginning (BOM) is taken away.
        allow_outside: whether paths may leave the root.

    Raises:
        DataError: it cannot be read, is in another encoding, has no such column, lists nothing.
    """
    lister = Lister(root, allow_outside=allow_outside)
    text = _text(path, encoding)
    if delimiter is None:
        delimiter = _sniffed(path, text, layout)
        lister.note(f"{path} is read with the delimiter {DELIMITERS[delimiter]}; --delimiter names another")
    _read(lister, _csv_rows(path, text, delimiter), layout, str(path), path.stem, MAX_ROWS)
    return _filled(path, lister)


def _text(path: Path, encoding: str) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_CSV + 1)
        if len(content) > MAX_CSV:
            raise DataError(path, f"is larger than {MAX_CSV >> 20} MB", "split it")
        return content.decode(encoding).removeprefix("\ufeff")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    except LookupError as error:
        raise DataError(path, f"there is no encoding {encoding!r}") from error
    except UnicodeDecodeError as error:
        why = f"is not in {encoding}: byte {error.start} cannot be read"
        raise DataError(path, why, "save it in UTF-8, or give --encoding, such as gb18030 or big5") from error


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(path, f"is no CSV: {error}", line=reader.line_num) from error
        if row is None:
            return
        yield tuple(cell.strip() or None for cell in row)


def _sniffed(path: Path, text: str, layout: Layout) -> str:
    """The delimiter by which the titles, or the first row, have both columns; a longer row wins."""
    fitting = []
    for delimiter in DELIMITERS:
        rows = _csv_rows(path, text, delimiter)
        try:
            head = [row for _, row in zip(range(max(layout.header_rows, 1)), rows, strict=False)][-1]
            _columns(path, head, layout)
            fitting.append((len(head), delimiter))
        except (DataError, IndexError):
            continue
    if not fitting:
        first = text.partition("\n")[0].strip()[:80]
        why = f"its first row, {first!r}, has no columns {layout.name_column!r} and {layout.file_column!r}"
        raise DataError(path, why, "give --name-column, --file-column and --delimiter")
    return max(fitting, key=lambda one: one[0])[1]


def _read(lister: Lister, rows: Iterator[Row], layout: Layout, place: str, sheet: str, left: int) -> int:
    """List every row; returns how many rows may follow in other sheets."""
    columns: tuple[int, int] | None = None
    name: Cell = None
    for number, row in enumerate(rows, 1):
        left -= 1
        if left < 0:
            raise DataError(place, f"has more than {MAX_ROWS:,} rows with those before it", "split it")
        if number == max(layout.header_rows, 1):
            columns = _columns(place, row, layout)
        if number <= layout.header_rows or columns is None or not any(row):
            continue
        given, file = (row[column] if column < len(row) else None for column in columns)
        if given is None and file is None:
            continue
        name = name if given is None and layout.fill_down else given
        where = f"{place}, row {number}"
        lister.add(name, _filled_in(layout.template, file, sheet, name), where)
    return left


def _filled_in(template: str, file: Cell, sheet: str, name: Cell) -> Cell:
    """The path of a recording; every value is a text that is put in once, whatever it holds."""
    if not isinstance(file, str):
        return file
    values = {"sheet": sheet, "file": file, "name": name if isinstance(name, str) else ""}
    return _FIELD.sub(lambda match: values[match[1]], template)


def _columns(place: str | Path, row: Row, layout: Layout) -> tuple[int, int]:
    """Numbers of the two columns; ``row`` holds the titles, where there are any."""
    titles = [one.casefold() if isinstance(one, str) else "" for one in row] if layout.header_rows else []
    found = [_column(place, one, titles) for one in (layout.name_column, layout.file_column)]
    if not layout.header_rows and max(found) >= len(row):
        raise DataError(place, f"has {len(row)} columns in its first row")
    return found[0], found[1]


def _column(place: str | Path, wanted: str, titles: Sequence[str]) -> int:
    if re.fullmatch(r"[0-9]{1,4}", wanted):  # also where a title is a number
        return int(wanted)
    if titles.count(wanted.strip().casefold()) > 1:
        raise DataError(place, f"has two columns {wanted!r}", "give the number of one, counted from 0")
    if wanted.strip().casefold() in titles:
        return titles.index(wanted.strip().casefold())
    if re.fullmatch(r"[A-Za-z]{1,2}", wanted):
        return functools.reduce(lambda number, one: 26 * number + ord(one) - 64, wanted.upper(), 0) - 1
    shown = ", ".join(repr(one) for one in titles[:10] if one) or "no titles"
    raise DataError(place, f"has no column {wanted!r}", f"it has {shown}; or give a number, counted from 0")


def _filled(path: Path, lister: Lister) -> Listing:
    if not lister.listing.items and not lister.listing.refused:
        raise DataError(path, "lists no recordings", "are sheets and columns the right ones?")
    return lister.listing
