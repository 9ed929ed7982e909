"""Write beside, then rename: a reader never sees half a file, a killed run leaves no finished-looking one.

``with atomic.open_text(path) as stream: stream.write(...)``; ``atomic.write_text(path, text)``. What cannot
be written is a ``DataError``; ``writing(path)`` makes one of what other writers raise.
"""

from __future__ import annotations

import ctypes
import glob
import logging
import os
import shutil
import sys
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


def replace_folder(staged: Path, path: Path) -> None:
    """Make ``staged`` the folder ``path``; the one that was there is removed once it has its successor.

    Both change places in one step where the system can do that. Elsewhere a kill between two renames leaves
    the old one beside its place, from where ``restore`` takes it back.
    """
    if not path.exists():
        staged.rename(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if _exchanged(staged, path):
        staged.rename(old)
    else:
        path.rename(old)
        staged.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Whether the two paths have changed places: by ``renameat2`` of Linux, if its file system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def restore(path: Path) -> None:
    """Take back the folder ``path`` where ``replace_folder`` was killed between two renames."""
    if path.exists() or not path.parent.is_dir():
        return
    left = sorted(path.parent.glob(f".{glob.escape(path.name)}.*.old"), key=lambda old: old.stat().st_mtime)
    if left:
        left[-1].rename(path)
        logging.warning("%s: taken back after a run that was killed while it replaced it", path)


def write_text(path: Path, text: str) -> None:
    """Publish ``text`` as ``path``."""
    with open_text(path) as stream:
        stream.write(text)
