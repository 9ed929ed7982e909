"""What every source of people becomes: who speaks in which recording, and what cannot be taken, and why.

``lister = Lister(Path("speaker_data")); lister.add("Ann", "Ann/1.wav", "row 2")``;
``lister.listing.items`` -> ``[Item("Ann", Source(...), ...)]``. Nothing of a recording is read here.
"""

from __future__ import annotations

import datetime
import math
import unicodedata
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from speakerlab.errors import AudioError, DataError
from speakerlab.io import audio
from speakerlab.pipeline.sources import Source
from speakerlab.types import RecId, Recording
from speakerlab.voiceprint.records import normalised

MAX_RECORDINGS = 1_000_000  # of one source
_TIMES = datetime.date | datetime.time | datetime.timedelta
EXACT = 10**15  # a number cell of Excel keeps 15 digits; from here on two ids may have become one


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a cell is no text."""

    why: str


Cell: TypeAlias = str | Fault | None  # None where it is empty


@dataclass(frozen=True, slots=True)
class Item:
    """One recording of one person.

    Attributes:
        name: who speaks, as the store spells it.
        source: the recording.
        where: where it was listed, for messages; empty where the recording itself says so.
    """

    name: str
    source: Source
    where: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """What was listed and cannot be taken: who, if known, which recording, if known, and why."""

    name: str
    recording: str
    why: str


@dataclass(slots=True)
class Listing:
    """Everything that one source lists, in its order.

    Attributes:
        items: what may be enrolled.
        refused: what cannot.
        notes: what people should know.
    """

    items: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def paths(self) -> dict[str, list[str]]:
        """The recordings of each person, as listed."""
        found: dict[str, list[str]] = {}
        for one in self.items:
            found.setdefault(one.name, []).append(one.source.origin)
        return found


class Lister:
    """Makes a ``Listing`` of names and paths as somebody wrote them.

    Args:
        root: where relative paths begin, and what no path may leave.
        allow_outside: whether paths and links may leave it.
    """

    def __init__(self, root: str | Path, *, allow_outside: bool = False) -> None:
        self.listing = Listing()
        self._root, self._allow_outside = str(root), allow_outside
        # a path below the working directory is called as people type it, and as 'speakerlab enroll' keeps it
        self._prefix = "" if self._root == "." else f"{self._root.rstrip('/')}/"
        self._inside = Path(root).resolve()
        self._spellings: dict[str, str] = {}

    def add(self, name: Cell, path: Cell, where: str) -> None:
        """One line of a source: who, the path of the recording, and where that stands."""
        shown = path if isinstance(path, str) else ""
        for what, cell in (("name", name), ("recording", path)):
            if not isinstance(cell, str):
                self.refuse(name, shown, f"{where}: the {what} {cell.why if cell else 'is empty'}")
                return
        source = self._source(str(path), where, str(name))
        if source is not None:
            self.take(str(name), source, where)

    def take(self, name: str, source: Source, where: str) -> None:
        """A recording whose path needs no check.

        Raises:
            DataError: there are too many.
        """
        try:
            spelled = normalised(name, where)
        except DataError as error:
            self.refuse("", source.origin, str(error))
            return
        first = self._spellings.setdefault(spelled, name)
        if first != name:
            self.note(f"{first!r} and {name!r} are one person, {spelled!r}")
        self.listing.items.append(Item(spelled, source, where))
        if len(self.listing.items) > MAX_RECORDINGS:
            raise DataError(self._root, f"lists more than {MAX_RECORDINGS:,} recordings", "split it")

    def refuse(self, name: Cell, recording: str, why: str) -> None:
        """Note what cannot be taken."""
        known = name if isinstance(name, str) else ""
        self.listing.refused.append(Refused(one_line(known), one_line(recording), one_line(why)))

    def note(self, text: str) -> None:
        """What people should know, once."""
        if (told := one_line(text)) not in self.listing.notes:
            self.listing.notes.append(told)

    def _source(self, path: str, where: str, name: str) -> Source | None:
        if one_line(path) != path:
            self.refuse(name, path, f"{where or 'the name'}: {path[:200]!r} cannot be printed; rename it")
            return None
        joined = path if path.startswith("/") else f"{self._prefix}{path}"
        try:
            inside = Path(joined).resolve().is_relative_to(self._inside)
        except (OSError, ValueError, RuntimeError) as error:  # links in a circle
            self.refuse(name, path, f"{where}: {path[:200]!r} is no path: {error}")
            return None
        if not inside and not self._allow_outside:
            why = f"leads out of {self._root}; allow it with --allow-outside, or give another --root"
            self.refuse(name, joined, f"{where}: {joined} {why}" if where else why)
            return None
        return file_source(joined)


def one_line(text: str) -> str:
    """``text`` without line breaks, control characters and what is no Unicode."""
    odd = {"Cc", "Cs", "Zl", "Zp"}
    return "".join(ascii(one)[1:-1] if unicodedata.category(one) in odd else one for one in text)


def file_source(path: str) -> Source:
    """The recording in a file, whose name is never taken for anything else."""
    return Source(path, partial(_read, path), is_named=True)


def _read(path: str) -> audio.Channels:
    try:
        odd = Path(path).exists() and not Path(path).is_file()
    except OSError as error:
        raise AudioError(path[:200], f"is no path: {error.strerror}") from error
    if odd:  # a device or a pipe might never end
        raise AudioError(path, "is no regular file")
    return audio.read_channels(Recording(RecId(path), path))


def text_of(value: Any) -> Cell:
    """What a cell of a spreadsheet holds as text; whole numbers without a point.

    A number of more than 15 digits is a fault: Excel rounds it, so that several ids become one.
    """
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = "date or time" if isinstance(value, _TIMES) else type(value).__name__
        return Fault(f"is a {kind} ({value}) and no text; format the column as text, and write it again")
    if not math.isfinite(value):
        return Fault("is no number (NaN or infinite)")
    if abs(value) >= EXACT:
        return Fault(
            f"is the number {value:.0f}, of which Excel keeps 15 digits, so that several ids become one;"
            " format the column as text, and write the ids again"
        )
    return str(int(value)) if float(value).is_integer() else repr(float(value))
