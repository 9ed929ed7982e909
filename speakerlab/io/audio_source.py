"""Where the bytes of an audio file come from: a file, an archive, or the output of a declared list's command.

``with opened(recording) as stream: ...``; what is wrong is an ``OSError`` or a ``SourceError``. Archives are
those of Kaldi's ``wav-copy`` and of kaldiio (also ESPnet's, of FLAC).
"""

from __future__ import annotations

import functools
import io
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from speakerlab.io import archive
from speakerlab.types import Recording


class SourceError(Exception):
    """There are no bytes, and why."""


def opened(recording: Recording) -> BinaryIO:
    """The bytes of the audio file that ``recording`` names.

    Raises:
        OSError: it cannot be opened.
        SourceError: its command fails or writes nothing; an archive that has another's audio at the offset.
    """
    if recording.is_pipe:
        return io.BytesIO(_output(recording.source.rstrip().removesuffix("|")))
    if recording.offset is not None:
        return _section(Path(recording.source), recording.rec_id, recording.offset)
    return Path(recording.source).open("rb")


def _section(path: Path, rec_id: str, offset: int) -> BinaryIO:
    """The audio file at ``offset`` of an archive, read when asked for."""
    with ExitStack() as opened_files:
        stream = opened_files.enter_context(path.open("rb"))
        try:
            archive.check_key(path, stream, rec_id, offset)
            start, end = archive.file_span(stream, offset)
        except ValueError as error:
            raise SourceError(str(error)) from error
        there = stream.seek(0, io.SEEK_END)
        if there < end:
            raise SourceError(f"truncated: {end - there} of {end - start} bytes are not in the archive")
        opened_files.pop_all()
    return io.BufferedReader(_Section(stream, start, end - start))


class _Section(io.RawIOBase):
    """Bytes ``start`` to ``start + size`` of ``stream`` as a file of its own, which closes it."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self._size, self._place = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._place)
        data = self._stream.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


@functools.lru_cache(maxsize=1)  # segments of one recording follow each other: run its command once
def _output(command: str) -> bytes:
    """Standard output of a ``wav.scp`` command."""
    # A declared list is a shell script of its user's; Recording.is_pipe says that this line is of one.
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S602
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode:
        raise SourceError(f"the command exits {done.returncode}" + (f": {said}" if said else ""))
    if not done.stdout:
        raise SourceError("the command writes nothing" + (f": {said}" if said else ""))
    return done.stdout
