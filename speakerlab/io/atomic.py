"""Write beside, then rename: a reader never sees half a file, a killed run leaves no finished-looking one.

``with atomic.open_text(path) as stream: stream.write(...)``; ``atomic.write_text(path, text)``. What cannot
be written is a ``DataError``; ``writing(path)`` makes one of what other writers raise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from speakerlab.errors import DataError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes ``path``.

    Raises:
        DataError: the system refuses: no permission, no space, a file where a folder should be.
    """
    try:
        yield
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror or error}") from error


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it if the block ends without an error.

    Raises:
        DataError: it cannot be written; the block is taken to do nothing else.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text stream that becomes ``path`` when the block ends without an error."""
    with staged(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream
        stream.flush()


def write_text(path: Path, text: str) -> None:
    """Publish ``text`` as ``path``."""
    with open_text(path) as stream:
        stream.write(text)
