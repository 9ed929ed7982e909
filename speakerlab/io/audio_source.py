"""Where the bytes of an audio file come from: a file, or the standard output of a declared list's command.

``with opened(recording) as stream: ...``; what is wrong is an ``OSError`` or a ``SourceError``.
"""

from __future__ import annotations

import functools
import io
import subprocess
from pathlib import Path
from typing import BinaryIO

from speakerlab.types import Recording


class SourceError(Exception):
    """There are no bytes, and why."""


def opened(recording: Recording) -> BinaryIO:
    """The bytes of the audio file that ``recording`` names.

    Raises:
        OSError: it cannot be opened.
        SourceError: its command fails or writes nothing.
    """
    if recording.is_pipe:
        return io.BytesIO(_output(recording.source.rstrip().removesuffix("|")))
    return Path(recording.source).open("rb")


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
