"""Where the bytes of an audio file come from: a file, an archive, or the output of a declared list's command.

``with opened(recording) as stream: ...``; what is wrong is an ``OSError`` or a ``SourceError``. Archives are
those of Kaldi's ``wav-copy`` and of kaldiio (also ESPnet's, of FLAC).
"""

from __future__ import annotations

import functools
import io
import subprocess
from pathlib import Path
from typing import BinaryIO

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
        return io.BytesIO(_extracted(Path(recording.source), recording.rec_id, recording.offset))
    return Path(recording.source).open("rb")


def _extracted(path: Path, rec_id: str, offset: int) -> bytes:
    """The audio file at ``offset`` of an archive."""
    with path.open("rb") as stream:
        try:
            archive.check_key(path, stream, rec_id, offset)
            start, end = archive.file_span(stream, offset)
        except ValueError as error:
            raise SourceError(str(error)) from error
        stream.seek(start)
        data = stream.read(end - start)
    if len(data) < end - start:
        raise SourceError(f"truncated: {len(data)} of {end - start} bytes are in the archive")
    return data


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
