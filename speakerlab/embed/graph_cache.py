"""Files that are dear to make and depend only on their key, kept between runs and shared by workers.

``GraphCache(folder).get("graph", "onnx", {"model": hash, "torch": version}, build)`` -> path; ``build(path)``
runs where there is no such file or it is damaged.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from speakerlab.errors import DataError
from speakerlab.io import atomic


class GraphCache:
    """Files in ``folder``, each beside its hash, which is written last and commits it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str, suffix: str, key: Mapping[str, str], build: Callable[[Path], None]) -> Path:
        """The file of ``key``; of workers that want it at once, one builds and the others wait.

        Raises:
            DataError: the folder cannot be written.
        """
        digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:24]
        path = self._folder / f"{name}-{digest}.{suffix}"
        with self._locked(path):
            if not _is_whole(path):
                if path.exists():
                    logging.warning("%s is damaged and made anew", path)
                _seal(path).unlink(missing_ok=True)
                with atomic.staged(path) as temporary:
                    build(temporary)
                    content = _digest(temporary)
                atomic.write_text(_seal(path), content + "\n")
        return path

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock").open("w")
        except OSError as error:
            raise DataError(
                self._folder, f"cannot be written ({error.strerror})", "set XDG_CACHE_HOME to another folder"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _is_whole(path: Path) -> bool:
    seal = _seal(path)
    return path.is_file() and seal.is_file() and seal.read_text(encoding="utf-8").strip() == _digest(path)
