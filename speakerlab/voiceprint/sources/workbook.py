"""Excel workbooks as rows of text, whoever made them: bounded in size, without entities, links or formulas.

``with sheets(Path("list.xlsx")) as found: found["Monday"]()`` -> rows of cells (``listing.Cell``).
``.xlsx`` through openpyxl, ``.xls`` through xlrd (extra ``serve``); which of the two is told by content.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from speakerlab.errors import DataError, MissingExtraError
from speakerlab.voiceprint.sources.listing import Cell, Fault, one_line, text_of

Row: TypeAlias = tuple[Cell, ...]
Sheets: TypeAlias = Mapping[str, Callable[[], Iterator[Row]]]

MAX_UNPACKED = 256 << 20  # bytes of all parts of an .xlsx
MAX_PARTS = 5000
MAX_SHEETS = 1000
MAX_CELLS = 2_000_000  # and strings; a minute of reading
MAX_ROWS = 1 << 20  # of one sheet, as Excel has them
MAX_COLUMNS = 256  # names and recordings stand further to the left
MAX_XLS = 64 << 20  # bytes; .xls is not packed
# what zipfile raises; a name that is not in its encoding is a ValueError
BROKEN_ZIP = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error, zlib.error,
)  # fmt: skip
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BLOCK = 1 << 20
_CELL = re.compile(rb"<(?:\w+:)?(?:c|si|row)[\s/>]")
_LONGEST = 64  # bytes that a mark below may have, so that none is lost between two blocks
_ENTITIES = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_ENCODING = re.compile(rb"""^<\?xml[^>]*encoding\s*=\s*["']([^"']*)""")
_UTF8 = {b"utf-8", b"utf8", b"us-ascii", b"ascii"}
_FORMULA = Fault("is a formula whose result was never stored; open and save the workbook in Excel")


@contextmanager
def sheets(path: Path) -> Iterator[Sheets]:
    """The sheets of a workbook by name, in order; each is called for its rows, more than once if need be.

    Raises:
        DataError: no workbook, damaged, too large, or with what no office program writes.
        MissingExtraError: openpyxl or xlrd is not installed.
    """
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns of features that do not matter here
            start = stream.read(8)
            stream.seek(0)
            if start.startswith(_ZIP):
                with _xlsx(path, stream) as found:
                    yield found
            elif start == _OLE:
                yield _xls(path, stream)
            else:
                raise DataError(path, "is no Excel workbook", "save it as .xlsx, or as CSV in UTF-8")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error


def damaged(path: Path, error: Exception) -> DataError:
    """One line for whatever a library raises at a damaged workbook."""
    why = one_line(" ".join(str(error).split()))[:200] or type(error).__name__
    return DataError(path, f"cannot be read as a workbook: {why}", "open it in Excel and save it again")


@contextmanager
def _xlsx(path: Path, stream: BinaryIO) -> Iterator[Sheets]:
    """Two views of one workbook: stored results, and formulas, since a missing result is no empty cell."""
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError("openpyxl", "serve") from error
    _check_package(path, stream)
    books: list[Any] = []
    try:
        for data_only in (True, False):
            books.append(
                openpyxl.load_workbook(stream, read_only=True, data_only=data_only, keep_links=False)
            )
    except Exception as error:  # it names no base class of what it raises
        raise damaged(path, error) from error
    pairs = {one.title: (one, two) for one, two in zip(*(book.worksheets for book in books), strict=True)}
    if len(pairs) > MAX_SHEETS:
        raise DataError(path, f"has more than {MAX_SHEETS} sheets")
    try:
        yield {title: partial(_xlsx_rows, path, *pair) for title, pair in pairs.items()}
    finally:
        for book in books:
            book.close()


def _check_package(path: Path, stream: BinaryIO) -> None:
    """Look at every part before a parser does: sizes, number of cells, declarations of entities."""
    try:
        with zipfile.ZipFile(stream) as package:
            parts = package.infolist()
            if len(parts) > MAX_PARTS or sum(one.file_size for one in parts) > MAX_UNPACKED:
                why = f"unpacks to more than {MAX_UNPACKED >> 20} MB or {MAX_PARTS} parts"
                raise DataError(path, why, "split it, or save it as CSV")
            cells = 0
            for one in parts:
                cells += _check_part(path, package, one)
                if cells > MAX_CELLS:
                    why = f"has more than {MAX_CELLS:,} cells and texts"
                    raise DataError(path, why, "split it, or save it as CSV")
    except BROKEN_ZIP as error:
        raise damaged(path, error) from error


def _check_part(path: Path, package: zipfile.ZipFile, part: zipfile.ZipInfo) -> int:
    """Cells and texts of one part; 0 of pictures and the like, which no parser of XML reads."""
    cells, tail = 0, b""
    with package.open(part) as stream:
        while block := stream.read(_BLOCK):
            if not tail and not _is_xml(path, part.filename, block):
                return 0
            text = tail[-_LONGEST:] + block
            if _ENTITIES.search(text):
                raise DataError(path, f"{part.filename!r} declares entities, as no office program does")
            cells += len(_CELL.findall(block))
            if cells > MAX_CELLS:
                return cells
            tail = text
    return cells


def _is_xml(path: Path, name: str, block: bytes) -> bool:
    """Whether a part that begins with ``block`` is XML in UTF-8; other encodings could hide anything."""
    start = block.removeprefix(b"\xef\xbb\xbf").lstrip()
    encoding = _ENCODING.match(start[:400])
    other = encoding is not None and encoding[1].lower() not in _UTF8
    if other or block[:2] in (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<"):
        raise DataError(path, f"{name!r} is not in UTF-8", "open it in Excel and save it again")
    return start.startswith(b"<")


def _xlsx_rows(path: Path, results: Any, formulas: Any) -> Iterator[Row]:
    """Rows of the two views; the size that a sheet states is not believed: some writers state less."""
    for sheet in (results, formulas):
        sheet.reset_dimensions()
    pairs = zip(results.iter_rows(max_row=MAX_ROWS), formulas.iter_rows(max_row=MAX_ROWS), strict=True)
    while True:
        try:
            found = next(pairs, None)
        except Exception as error:
            raise damaged(path, error) from error
        if found is None:
            return
        yield _trimmed(_xlsx_cell(*pair) for pair in zip(*(row[:MAX_COLUMNS] for row in found), strict=True))


def _xlsx_cell(result: Any, formula: Any) -> Cell:
    if result.data_type == "e":
        return Fault(f"is the error {result.value}")
    if result.value is None:
        return _FORMULA if formula.data_type == "f" else None
    return text_of(result.value)


def _trimmed(cells: Iterator[Cell]) -> Row:
    row = list(cells)
    while row and row[-1] is None:
        row.pop()
    return tuple(row)


def _xls(path: Path, stream: BinaryIO) -> Sheets:
    try:
        import xlrd
    except ImportError as error:
        raise MissingExtraError("xlrd", "serve") from error
    content = stream.read(MAX_XLS + 1)
    if len(content) > MAX_XLS:
        raise DataError(path, f"is larger than {MAX_XLS >> 20} MB", "save it as .xlsx or CSV")
    try:
        book = xlrd.open_workbook(
            file_contents=content, on_demand=True, ragged_rows=True, logfile=io.StringIO()
        )
        names = book.sheet_names()
    except Exception as error:  # it names no base class of what it raises
        raise damaged(path, error) from error
    if len(names) > MAX_SHEETS:
        raise DataError(path, f"has more than {MAX_SHEETS} sheets")
    return {name: partial(_xls_rows, path, book, number) for number, name in enumerate(names)}


def _xls_rows(path: Path, book: Any, number: int) -> Iterator[Row]:
    try:
        sheet = book.sheet_by_index(number)
        for row in range(sheet.nrows):
            cells = sheet.row(row)[:MAX_COLUMNS]
            yield _trimmed(_xls_cell(cell, book.datemode) for cell in cells)
    except Exception as error:  # it names no base class of what it raises
        raise damaged(path, error) from error


def _xls_cell(cell: Any, datemode: int) -> Cell:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_ERROR:
        return Fault(f"is the error {xlrd.error_text_from_code.get(cell.value, cell.value)}")
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return text_of(bool(cell.value))
    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            return text_of(xlrd.xldate_as_datetime(cell.value, datemode))
        except (ValueError, OverflowError, xlrd.xldate.XLDateError):
            return Fault("is no date")
    return text_of(cell.value)
