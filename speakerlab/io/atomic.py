"""Write beside, then rename: a reader never sees half a file, a killed run leaves no finished-looking one.

``with atomic.open_text(path) as stream: stream.write(...)``; ``atomic.write_bytes(path, data)``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
