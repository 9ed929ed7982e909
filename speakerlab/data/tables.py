"""The tables of a Kaldi data dir: ``wav.scp``, ``segments``, ``utt2spk`` and every ``id value`` list.

``recordings = read_wav_scp(Path("data/train/wav.scp"))``. Readers raise ``DataError`` with file and line;
fields are separated by blanks or tabs; the order of the lines does not matter.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast

from speakerlab.data.faults import REPAIR, Report, stop
from speakerlab.data.lines import LineIndex, lines, write_table
from speakerlab.data.trials import read_trials
from speakerlab.errors import DataError
from speakerlab.types import RecId, Recording, Segment, SpkId, UttId

__all__ = [
    "read_enroll_map",
    "read_numbers",
    "read_segments",
    "read_trials",
    "read_two_columns",
    "read_utt2spk",
    "read_wav_scp",
    "write_table",
]

T = TypeVar("T")
_IN_ARCHIVE = re.compile(r"(.+):(\d+)")


def read_wav_scp(path: Path, report: Report = stop) -> dict[RecId, Recording]:
    """Recordings by id, in file order; ``source`` is a pipe as written or an absolute path.

    ``path:offset``, as Kaldi's ``wav-copy`` writes it, is an audio file in an archive. A relative path is
    looked up in the folder of ``path``, then, as in Kaldi, in the working directory; where neither has it, it
    counts as the former. That the file exists is for the validator to check.

    Raises:
        DataError: bad lines, duplicate ids, a path found in both places as different files.
    """
    locate = _Locator(path.parent)

    def parse(number: int, key: str, rest: bytes) -> Recording | None:
        source = rest.decode()
        if source.endswith("|"):
            return Recording(RecId(key), source, is_pipe=True)
        entry = _IN_ARCHIVE.fullmatch(source)
        located = locate(entry[1] if entry else source)
        if located is None:
            why = f"{source} is in the data dir and in the working directory, as different files"
            report(DataError(path, why, "write absolute paths", number))
            return None
        if entry and not os.path.exists(f"{located}:{entry[2]}"):  # noqa: PTH110 (a name with a colon in it)
            return Recording(RecId(key), located, offset=int(entry[2]))
        return Recording(RecId(key), f"{located}:{entry[2]}" if entry else located)

    return cast(dict[RecId, Recording], _read_keyed(path, parse, report))


def may_run(name: str | Path) -> bool:
    """Whether ``name`` declares a list from which commands may run: ``*.scp``, or its part ``*.scp.00``.

    The content of a file never does: an uploaded ``talk.wav`` may hold any text.
    """
    return re.search(r"\.scp(\.\d+)?\Z", str(name)) is not None


def refuse_commands(path: Path, recordings: Mapping[RecId, Recording]) -> None:
    """Refuse a list that holds a command although its name does not declare it (``may_run``).

    Raises:
        DataError: it names the first such entry.
    """
    for rec_id, recording in recordings.items():
        if recording.is_pipe and not may_run(path):
            fix = "commands run only from a list whose name ends in .scp: rename it"
            raise DataError(path, f"'{rec_id}' is a command", fix)


class _Locator:
    """Makes the paths of a list absolute: in its own folder if they are there, else as Kaldi does.

    A million lines must not cost a million looks at a file server: where only one of the two folders
    holds the first part of a path, that decides for every path that begins with it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._cwd = str(folder.absolute()), str(Path.cwd())
        self._bases: dict[str, str | None] = {}

    def __call__(self, source: str) -> str | None:
        """The absolute path; None if two different files answer to ``source``."""
        if source.startswith("/"):
            return source
        top, slash, _ = source.partition("/")
        if not slash:
            base = self._base(source)
        else:
            if top not in self._bases:
                self._bases[top] = self._base(top)
            base = self._bases[top] or self._base(source)
        return f"{base}/{source}" if base else None

    def _base(self, relative: str) -> str | None:
        """Which of the two folders holds ``relative``; None if both do, as different files."""
        own, kaldi = f"{self._folder}/{relative}", f"{self._cwd}/{relative}"
        if not os.path.exists(kaldi):  # noqa: PTH110 (Path.exists raises for names that are too long)
            return self._folder
        if not os.path.exists(own):  # noqa: PTH110
            return self._cwd
        return self._folder if Path(own).samefile(kaldi) else None


def read_segments(path: Path, recordings: Mapping[RecId, Recording], report: Report = stop) -> list[Segment]:
    """Segments in file order, from lines ``utt_id rec_id start_s end_s``; an end of -1 is the recording's.

    A fifth column, as in Kaldi, is the channel from 0; -1 leaves it open.

    Raises:
        DataError: bad lines, duplicate ids, a recording not in ``recordings``, times that are negative,
            not finite or not increasing.
    """

    def parse(number: int, key: str, rest: bytes) -> Segment | None:
        try:
            rec_id, start_s, end_s, *further = (field.decode() for field in rest.split())
            times, channel = (float(start_s), float(end_s)), _channel(further)
        except ValueError:
            fix = "write: utt_id rec_id start_s end_s [channel]"
            why = f"'{key}' needs a recording and two times in seconds, then perhaps a channel from 0"
            report(DataError(path, why, fix, number))
            return None
        if rec_id not in recordings:
            fix = f"add it to wav.scp or {REPAIR}drop such utterances"
            report(DataError(path, f"'{key}' is in '{rec_id}', which is not in wav.scp", fix, number))
        if not _is_span(*times):
            fix = "times must satisfy 0 <= start < end, or end = -1 for the end of the recording"
            report(DataError(path, f"'{key}' is from {start_s} to {end_s} s", fix, number))
        end = None if times[1] == -1 else times[1]
        return Segment(UttId(key), RecId(sys.intern(rec_id)), times[0], end, channel)

    return list(_read_keyed(path, parse, report).values())


def _channel(fields: list[str]) -> int | None:
    """The channel of a line's last column; None without one.

    Raises:
        ValueError: it is none.
    """
    if not fields:
        return None
    (text,) = fields
    if int(text) < -1:
        raise ValueError(text)
    return None if int(text) == -1 else int(text)


def _is_span(start_s: float, end_s: float) -> bool:
    return 0 <= start_s < math.inf and (end_s == -1 or start_s < end_s < math.inf)


def read_utt2spk(path: Path, report: Report = stop) -> dict[UttId, SpkId]:
    """Speakers by utterance id, in file order.

    Raises:
        DataError: bad lines, duplicate ids.
    """

    def parse(number: int, key: str, rest: bytes) -> SpkId | None:
        if len(rest.split()) == 1:
            return SpkId(sys.intern(rest.decode()))
        report(DataError(path, f"'{key}' has more than one speaker", "write: utt_id spk_id", number))
        return None

    return cast(dict[UttId, SpkId], _read_keyed(path, parse, report))


def read_two_columns(path: Path, report: Report = stop) -> dict[str, str]:
    """Lines ``id rest`` as a mapping in file order: ``feats.scp``, ``vad.scp``, ``utt2dur``, ``spk2gender``.

    Raises:
        DataError: bad lines, duplicate ids.
    """
    return _read_keyed(path, lambda _, __, rest: rest.decode(), report)


def read_enroll_map(path: Path, report: Report = stop) -> dict[str, tuple[str, ...]]:
    """Lines ``model utt1 utt2 ...`` as a mapping in file order.

    Raises:
        DataError: bad lines, duplicate ids, an utterance twice in a model.
    """

    def parse(number: int, key: str, rest: bytes) -> tuple[str, ...]:
        utt_ids = tuple(sys.intern(field.decode()) for field in rest.split())
        if len(set(utt_ids)) < len(utt_ids):
            report(DataError(path, f"model {key} has an utterance twice", "list each once", number))
        return tuple(dict.fromkeys(utt_ids))

    return _read_keyed(path, parse, report)


def read_numbers(path: Path, report: Report = stop) -> dict[str, float]:
    """Lines ``id number`` as a mapping in file order: ``utt2dur`` and every ``utt2x`` of numbers.

    Raises:
        DataError: bad lines, duplicate ids, what is not a finite number.
    """

    def parse(number: int, key: str, rest: bytes) -> float | None:
        try:
            value = float(rest)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        why = f"'{key}' has '{rest.decode()}', which is not a finite number"
        report(DataError(path, why, "write: id number", number))
        return None

    return _read_keyed(path, parse, report)


def _read_keyed(path: Path, parse: Callable[[int, str, bytes], T | None], report: Report) -> dict[str, T]:
    """Parsed lines by their first field; ``parse`` reports what it cannot use and returns None."""
    rows: dict[str, T] = {}
    index = LineIndex(path)
    for number, line in lines(path, report):
        fields = line.split(None, 1)
        key = fields[0].decode()
        if len(fields) == 1:
            report(DataError(path, f"'{key}' stands alone on its line", "write: id value", number))
            continue
        value = parse(number, key, fields[1].rstrip())
        if value is None:
            continue
        if key not in rows:
            rows[key] = value
        elif rows[key] == value:
            why = f"'{key}' is on line {index[key]} already"
            report(DataError(path, why, REPAIR + "drop repeated lines", number))
        else:
            why = f"'{key}' is on line {index[key]} already, with another value"
            report(DataError(path, why, "keep the right one of the two", number))
    return rows
