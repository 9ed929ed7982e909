"""What an output was made from: the state of every input as it was read, so that a later call sees a change.

``source = AudioStates(recordings)``; ``known = source.state("utt1")`` is kept beside the output; then
``source.is_changed("utt1", known)``. A state is size and date of a file and a hash of samples of its bytes,
or of the whole array for an entry of an archive: a copy of the same content with another date is no change.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from speakerlab.errors import DataError
from speakerlab.io.ark import FeatureTable
from speakerlab.types import Recording

SAMPLE_BYTES = 4096  # from the start, the middle and the end of a file
MISSING = "missing"
UNSAMPLED = "-"  # in place of the hash where only sizes and dates are wanted


class States(Protocol):
    """One kind of input, by utterance."""

    name: str

    def state(self, key: str, *, sampled: bool = True) -> str:
        """The state of the input of ``key`` now; words without blanks, separated by blanks."""
        ...

    def is_changed(self, key: str, known: str) -> bool:
        """Whether the input of ``key`` has other content than when ``state`` gave ``known``."""
        ...

    def where(self, key: str) -> str:
        """The input of ``key``, for messages."""
        ...


class AudioStates:
    """Audio files by utterance; of a command, the files that its words name.

    Args:
        recordings: the recording of each utterance.
    """

    name = "audio"

    def __init__(self, recordings: Mapping[str, Recording]) -> None:
        self._recordings = recordings

    def where(self, key: str) -> str:
        """See ``States``."""
        return self._recordings[key].source

    def state(self, key: str, *, sampled: bool = True) -> str:
        """See ``States``."""
        return " ".join(_state(path, sampled=sampled) for path in _files(self._recordings[key])) or MISSING

    def is_changed(self, key: str, known: str) -> bool:
        """See ``States``; without samples a file of the same size counts as the same."""
        before, now = known.split(), self.state(key, sampled=False).split()
        if len(before) != len(now):
            return True
        if all(_agree(*pair) for pair in zip(before, now, strict=True)):
            return False
        now = self.state(key).split()
        return not all(_agree(*pair) for pair in zip(before, now, strict=True))


class ArrayStates:
    """Entries of an scp by utterance."""

    def __init__(self, table: FeatureTable) -> None:
        self._table, self.name = table, table.path.name

    def where(self, key: str) -> str:
        """See ``States``."""
        return self._table.where(key) if key in self._table else f"{self._table.path}: no line"

    def state(self, key: str, *, sampled: bool = True) -> str:
        """See ``States``."""
        try:
            archive = _state(self._table.archive(key), sampled=False)
            if not sampled:
                return archive
            array = np.ascontiguousarray(self._table[key])
        except DataError:
            return MISSING
        digest = hashlib.blake2b(array.tobytes(), digest_size=8).hexdigest()
        return archive.replace(UNSAMPLED, digest)

    def is_changed(self, key: str, known: str) -> bool:
        """See ``States``; without a hash any readable entry counts as the same."""
        now = self.state(key, sampled=False)
        if MISSING in (known, now):
            return known != now
        *file, digest = known.split(":")
        if digest == UNSAMPLED or file == now.split(":")[:-1]:
            return False
        return self.state(key).split(":")[-1] != digest


def _agree(before: str, now: str) -> bool:
    """Whether two states are of the same content, as far as both know."""
    if before == now or MISSING in (before, now):
        return before == now
    size, date, digest = before.split(":")
    new_size, new_date, new_digest = now.split(":")
    if size != new_size or UNSAMPLED not in (digest, new_digest):
        return size == new_size and digest == new_digest
    return date == new_date or digest == UNSAMPLED


def _files(recording: Recording) -> list[Path]:
    """The files that ``recording`` is read from."""
    if not recording.is_pipe:
        return [Path(recording.source)]
    words: list[str] = []
    with contextlib.suppress(ValueError):  # a quote that is never closed: the shell will say so
        words = shlex.split(recording.source)
    programs = {place + 1 for place, word in enumerate(words) if word in {"|", "&&", "||", ";"}} | {0}
    return [Path(word) for place, word in enumerate(words) if place not in programs and _is_file(word)]


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _state(path: Path, *, sampled: bool) -> str:
    """``size:date:hash`` of ``path``."""
    try:
        facts = path.stat()
        digest = _digest(path, facts.st_size) if sampled else UNSAMPLED
    except OSError:
        return MISSING
    return f"{facts.st_size}:{facts.st_mtime_ns}:{digest}"


def _digest(path: Path, size: int) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as stream:
        for start in _starts(size):
            stream.seek(start)
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _starts(size: int) -> Iterator[int]:
    yield 0
    if size > SAMPLE_BYTES:
        yield max(SAMPLE_BYTES, (size - SAMPLE_BYTES) // 2)
    if size > 2 * SAMPLE_BYTES:
        yield size - SAMPLE_BYTES
