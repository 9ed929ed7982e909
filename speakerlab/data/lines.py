"""Lines of Kaldi's text files: encoding, line ends and blanks are checked here, once for every table.

``for number, line in lines(path): key, rest = line.split(None, 1)``. Lines are bytes, because ``bytes.split``
splits at the blanks Kaldi splits at, while ``str.split`` also splits at those inside Chinese file names.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from speakerlab.data.faults import REPAIR, Report, stop
from speakerlab.errors import DataError
from speakerlab.io import atomic

_LINE_END, _SPACE = 10, 32
_BLOCK_BYTES = 1 << 20  # read and checked together: fits a cache, and most of the work is per block


def lines(path: Path, report: Report = stop) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1 and lines of ``path``, repaired where the fault is reported: never blank ones.

    Raises:
        DataError: (or reported) what ``blocks`` raises.
    """
    for number, block in blocks(path, report):
        yield from enumerate(block.split(b"\n"), number)


def blocks(path: Path, report: Report = stop) -> Iterator[tuple[int, bytes]]:
    """``path`` in pieces of whole lines, about 1 MiB each, with the number of their first line.

    What parses many lines at once takes these. A piece does not end with a line end; where lines need
    repair, each is a piece of its own.

    Raises:
        DataError: (or reported) unreadable or empty file, Windows line ends, byte-order mark, not UTF-8,
            a blank line, a line that starts with a blank.
    """
    try:
        if path.exists() and not path.is_file():
            report(DataError(path, "is a folder or a pipe, which cannot be read twice", "give a file"))
            return
        stream = path.open("rb")
    except OSError as error:
        report(DataError(path, f"cannot be read: {error.strerror}", "make it or give another path"))
        return
    number, has_cr, found = 1, False, False
    with stream:
        while raw := stream.read(_BLOCK_BYTES):
            block = (raw + stream.readline()).removesuffix(b"\n")
            if _is_clean(block):
                found = True
                yield number, block
            else:
                for place, line in enumerate(block.split(b"\n"), number):
                    if b"\r" in line and not has_cr:
                        report(DataError(path, "Windows line end", REPAIR + "convert line ends", place))
                        has_cr = True
                    text = _repaired(path, place, line.rstrip(b"\r"), report)
                    found = found or bool(text)
                    if text:
                        yield place, text
            number += block.count(b"\n") + 1
    if not found:
        report(DataError(path, "empty file", "write at least one line or remove the file"))


def columns(block: bytes, num_columns: int) -> list[list[bytes]] | None:
    """The columns of a piece that ``blocks`` gave; None if a line has another number of fields.

    One ``split`` of a whole piece costs a quarter of one for each line; where the blanks are tells beforehand
    that no line has a field too many while another has one too few.
    """
    if _is_even(block, num_columns):
        fields = block.split()
        return [fields[column::num_columns] for column in range(num_columns)]
    rows = [line.split() for line in block.split(b"\n")]
    if any(len(row) != num_columns for row in rows):
        return None
    return [list(column) for column in zip(*rows, strict=True)]


def _is_even(block: bytes, num_columns: int) -> bool:
    """Whether every line has ``num_columns`` fields with one space between and nothing around them."""
    text = np.frombuffer(block, dtype=np.uint8)
    places = np.flatnonzero(text <= _SPACE)  # control characters too: where there are any, the answer is no
    blanks = text[places]
    if (len(blanks) + 1) % num_columns or (np.diff(places, prepend=-1, append=len(text)) == 1).any():
        return False
    ends = blanks[num_columns - 1 :: num_columns]
    return bool((ends == _LINE_END).all() and np.count_nonzero(blanks == _SPACE) == len(blanks) - len(ends))


def _is_clean(block: bytes) -> bool:
    """Whether no line of ``block`` needs ``_repaired``: a look at many lines at once is cheap."""
    if b"\r" in block or b"\0" in block or codecs.BOM_UTF8 in block:
        return False
    if not block or block[:1].isspace() or block.endswith(b"\n"):
        return False
    text = np.frombuffer(block, dtype=np.uint8)
    if (text[np.flatnonzero(text == _LINE_END) + 1] <= _SPACE).any():  # blank lines, blanks in front
        return False
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def _repaired(path: Path, number: int, line: bytes, report: Report) -> bytes:
    """``line`` without byte-order mark and leading blanks; empty where nothing usable is left."""
    if line.startswith(codecs.BOM_UTF8):
        report(DataError(path, "byte-order mark", REPAIR + "remove the byte-order mark", number))
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        line.decode()
        place = line.find(b"\0")  # UTF-16 without a byte-order mark
    except UnicodeDecodeError as error:
        place = error.start
    if place >= 0:
        report(DataError(path, f"not UTF-8 (byte {place + 1})", "save the file as UTF-8", number))
        return b""
    text = line.lstrip()
    if not text:
        report(DataError(path, "blank line", REPAIR + "drop blank lines", number))
    elif text != line:
        report(DataError(path, "the line starts with a blank", REPAIR + "strip leading blanks", number))
    return text


class LineIndex:
    """Line number of the first line of each key, read when first asked: only messages need it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, key: str) -> int | None:
        return self._numbers.get(key.encode())

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        numbers: dict[bytes, int] = {}
        for number, line in lines(self._path, lambda _: None):
            numbers.setdefault(line.split(None, 1)[0], number)
        return numbers


def check_order(path: Path, report: Report) -> None:
    """Report the first line of ``path`` whose key sorts before the one above it, bytewise as LC_ALL=C."""
    last = b""
    for number, line in lines(path, lambda _: None):
        key = line.split(None, 1)[0]
        if key < last:
            why = f"not in bytewise order (LC_ALL=C sort): '{key.decode()}' is below '{last.decode()}'"
            report(DataError(path, why, REPAIR + "sort the lines", number))
            return
        last = key


def write_table(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    """Publish ``rows`` as lines of blank-separated fields, in the order given; only the last may hold blanks.

    Raises:
        DataError: a row that would not read back as it is: an empty field, a blank or line end inside one.
    """
    with atomic.open_text(path) as stream:
        for number, row in enumerate(rows, 1):
            line = " ".join(row)
            if not _reads_back(line, row):
                fix = "ids must be UTF-8 without blanks, nothing may be empty or hold a line end"
                raise DataError(path, f"cannot write {row}", fix, number)
            stream.write(line + "\n")


def _reads_back(line: str, row: tuple[str, ...]) -> bool:
    try:
        raw = line.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return False
    if raw.startswith(codecs.BOM_UTF8) or any(mark in raw for mark in (b"\n", b"\r", b"\0")):
        return False
    return tuple(field.decode() for field in raw.strip().split(None, len(row) - 1)) == row
