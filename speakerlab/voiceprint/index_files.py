"""Where a search index lives: mapped columns, a checked header, locks; in a folder or in unnamed memory.

``files = IndexFiles(Path("index"), dim=192, key="model hash + rule")``; ``with files.writing(): ...``;
``files["vectors"]`` -> float32 [capacity, 192]; ``files.header.used``. The columns are views of the files:
they cost no memory of the process, and what one process writes the others see.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import secrets
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.io import atomic

FORMAT = 1
HEADER, LOCK, TURN = "header.json", "lock", "turn"
HEADER_BYTES = 1024
GROW_ROWS = 1024  # rows are added by so many; the scan relies on a multiple of 64
ID_BYTES = 64
AGAIN = "rebuild the index from the store"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Header:
    """What is known of the columns; a copy of the first bytes of ``header.json``.

    Attributes:
        format: of the files; another one is not read.
        key: hash of what the vectors are: model and rule.
        dim: components of a vector.
        seed: of the table of ids, another for each index: nobody can choose ids that collide.
        capacity: rows the columns have room for.
        used: rows from 0 that hold, or held, a vector.
        live: rows that hold one.
        first_free: no row before it is free.
        slots: size of the table of ids, a power of two; 0 before the first id.
        table: its number: each table is a file of its own.
        filled: its slots that are not empty, those of removed ids among them.
        version: number of changes so far.
        gains: lowest and highest gain that any row had, [2].
        bias: highest magnitude of a bias that any row had.
        revision: of the store, that the rows reflect.
        changing: rows and ids are being changed, or were when the writer was killed.
        boot: the run of the operating system in which files may not be on the disk yet; "" where all are.
    """

    format: int
    key: str
    dim: int
    seed: int
    capacity: int = 0
    used: int = 0
    live: int = 0
    first_free: int = 0
    slots: int = 0
    table: int = 0
    filled: int = 0
    version: int = 0
    gains: tuple[float, float] = (0.0, 0.0)
    bias: float = 0.0
    revision: int = 0
    changing: bool = False
    boot: str = ""

    def packed(self) -> bytes:
        """The bytes of the file: a checksum, and the fields as JSON."""
        text = json.dumps(asdict(self)).encode()
        return b"%08x %s" % (zlib.crc32(text), text.ljust(HEADER_BYTES - 9))


def _unpacked(data: bytes) -> Header | None:
    """The header in ``data``; None where it is not one, of whatever reason."""
    try:
        text = data[9:].rstrip()
        intact = len(data) == HEADER_BYTES and int(data[:8], 16) == zlib.crc32(text)
        content = json.loads(text) if intact else {}
        content["gains"] = tuple(content["gains"])
        return Header(**content)
    except (ValueError, KeyError, TypeError):
        return None


class IndexFiles:
    """The open files of one index. Not for several threads at once.

    Args:
        path: a folder, made where there is none; None: memory that ends with the process.
        dim: components of a vector.
        key: what the vectors are.

    Raises:
        DataError: the folder cannot be written.
    """

    def __init__(self, path: Path | None, dim: int, key: str) -> None:
        self._path, self._dim, self._key = path, dim, hashlib.sha256(key.encode()).hexdigest()
        self._columns: dict[str, tuple[npt.DTypeLike, int]] = {
            "vectors": (np.float32, dim),
            "codes": (np.int8, dim),
            "scales": (np.float32, 1),
            "errors": (np.float32, 1),
            "gains": (np.float64, 1),
            "biases": (np.float64, 1),
            "live": (np.bool_, 1),
            "ids": (f"S{ID_BYTES}", 1),
        }
        self._fds: dict[str, int] = {}
        weakref.finalize(self, _close_all, self._fds)  # an index that is dropped without close
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self.header = Header(FORMAT, self._key, dim, 0)
        self.where: str | Path = path or "the index in memory"
        with atomic.writing(Path(self.where)):
            self._open()

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        return self._arrays[column]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nobody changes rows or ids meanwhile.

        Raises:
            DataError: the index was thrown away for another key, or a writer was killed.
        """
        with self._locked(fcntl.LOCK_SH):
            if self.header.changing:
                raise DataError(self.where, "was left half-written by a process that was killed", AGAIN)
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile.

        That not all may be on the disk is noted there before the first change.

        Raises:
            DataError: as ``reading``, or the files cannot be written.
        """
        with self._locked(fcntl.LOCK_EX), atomic.writing(Path(self.where)):
            if self.header.changing:
                raise DataError(self.where, "was left half-written by a process that was killed", AGAIN)
            if not self.header.boot:
                self.put(boot=_boot())
                os.fsync(self._fds[HEADER])
            yield

    def put(self, **changes: Any) -> None:
        """Change fields of the header, in the file at once."""
        self.header = replace(self.header, **changes)
        os.pwrite(self._fds[HEADER], self.header.packed(), 0)

    def grow(self, rows: int) -> None:
        """Make room for ``rows`` rows; what is there stays where it is."""
        capacity = -(-rows // GROW_ROWS) * GROW_ROWS
        if capacity > self.header.capacity:
            for name in self._columns:
                self._allocate(name, capacity)
            self.put(capacity=capacity)
            self._map()

    def table(self, slots: int) -> npt.NDArray[np.uint32]:
        """An empty table of ids of so many slots; it counts from ``use_table`` on."""
        name = _table_name(self.header.table + 1)
        self._fds[name] = self._fd(name)
        os.ftruncate(self._fds[name], 0)
        _allocate(self._fds[name], 4 * slots)
        return self._view(name, np.uint32, slots)

    def use_table(self, table: npt.NDArray[np.uint32], filled: int) -> None:
        """The ``table`` made last replaces the one that was."""
        before, self._arrays["slots"] = self.header.table, table
        self.put(slots=len(table), table=before + 1, filled=filled)
        if self._path:
            (self._path / _table_name(before)).unlink(missing_ok=True)
        self._drop_tables()

    def clear(self) -> None:
        """Throw the rows away, and the files with them; of this index, half-written or not."""
        with self._locked(fcntl.LOCK_EX), atomic.writing(Path(self.where)):
            self._create()

    def sync(self) -> None:
        """All that was written is on the disk when this returns; nothing to do once closed."""
        if not self._fds:
            return
        with self._locked(fcntl.LOCK_EX), atomic.writing(Path(self.where)):
            if self._path and self.header.boot and not self.header.changing:
                for name, fd in self._fds.items():
                    if name not in (LOCK, TURN):
                        os.fsync(fd)
                self.put(boot="")
                os.fsync(self._fds[HEADER])

    def close(self) -> None:
        """Let go of the files."""
        self._arrays.clear()
        _close_all(self._fds)

    def _open(self) -> None:
        if self._path:
            self._path.mkdir(parents=True, exist_ok=True)
        for name in (LOCK, TURN):
            self._fds[name] = self._fd(name)
        with self._exclusively(fcntl.LOCK_EX):
            if not self._load(anew=True):
                self._create()

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the lock; columns and header are those of now."""
        with self._exclusively(kind):
            if self._path and not self._load(anew=False):
                raise DataError(self.where, "now belongs to another model, or is damaged", "open it anew")
            yield

    @contextmanager
    def _exclusively(self, kind: int) -> Iterator[None]:
        """Whoever waits holds ``turn``: readers that follow each other closely do not keep a writer out."""
        if not self._path:
            yield
            return
        with ExitStack() as stack:
            fcntl.flock(self._fds[TURN], fcntl.LOCK_EX)
            try:
                fcntl.flock(self._fds[LOCK], kind)
                stack.callback(fcntl.flock, self._fds[LOCK], fcntl.LOCK_UN)
            finally:
                fcntl.flock(self._fds[TURN], fcntl.LOCK_UN)
            yield

    def _load(self, *, anew: bool) -> bool:
        """Take up the header and the columns it tells of; False where they cannot be trusted.

        ``anew``: the index is being opened: then one left by a killed writer, or by a run of the system that
        may not have written all of it to the disk, is not trusted either.
        """
        path = self._path
        if path is None or not (path / HEADER).exists():
            return False
        replaced = HEADER not in self._fds or not _same_file(self._fds[HEADER], path / HEADER)
        if replaced:
            self._forget()
            self._fds[HEADER] = self._fd(HEADER)
        header = _unpacked(os.pread(self._fds[HEADER], HEADER_BYTES, 0))
        if header is None or (header.format, header.key, header.dim) != (FORMAT, self._key, self._dim):
            return False
        if anew and (header.changing or header.boot not in ("", _boot())):
            return False
        known = None if replaced else self.header
        self.header = header
        if known is None or (known.capacity, known.table) != (header.capacity, header.table):
            return self._complete() and self._map()
        return True

    def _complete(self) -> bool:
        """Open the files that the header tells of; whether they are as long as they must be."""
        sizes = {
            name: self.header.capacity * width * np.dtype(kind).itemsize
            for name, (kind, width) in self._columns.items()
        }
        if self.header.slots:
            sizes[_table_name(self.header.table)] = 4 * self.header.slots
        self._drop_tables()
        for name in sizes:
            if name not in self._fds:
                self._fds[name] = self._fd(name)
        return all(os.fstat(self._fds[name]).st_size >= size for name, size in sizes.items())

    def _create(self) -> None:
        """An index without rows, in new files: those who have the former open keep what they see."""
        self._forget()
        if self._path:
            for file in [self._path / name for name in (HEADER, *self._columns)]:
                file.unlink(missing_ok=True)
            for file in self._path.glob("slots.*"):
                file.unlink(missing_ok=True)
        self.header = Header(FORMAT, self._key, self._dim, secrets.randbits(60))
        for name in self._columns:
            self._fds[name] = self._fd(name)
        self._fds[HEADER] = self._fd(HEADER)
        _allocate(self._fds[HEADER], HEADER_BYTES)
        self.put()
        self._map()

    def _forget(self) -> None:
        self._arrays.clear()
        for name in [name for name in self._fds if name not in (LOCK, TURN)]:
            os.close(self._fds.pop(name))

    def _drop_tables(self) -> None:
        """Let go of the tables of ids that were."""
        now = _table_name(self.header.table)
        for name in [name for name in self._fds if name.startswith("slots.") and name != now]:
            os.close(self._fds.pop(name))

    def _map(self) -> bool:
        for name, (kind, width) in self._columns.items():
            flat = self._view(name, kind, self.header.capacity * width)
            self._arrays[name] = flat.reshape(-1, width) if name in ("vectors", "codes") else flat
        if self.header.slots:
            name = _table_name(self.header.table)
            self._arrays["slots"] = self._view(name, np.uint32, self.header.slots)
        return True

    def _view(self, name: str, kind: npt.DTypeLike, items: int) -> npt.NDArray[Any]:
        if not items:
            return np.empty(0, kind)
        return np.frombuffer(mmap.mmap(self._fds[name], items * np.dtype(kind).itemsize), kind)

    def _allocate(self, name: str, rows: int) -> None:
        kind, width = self._columns[name]
        _allocate(self._fds[name], rows * width * np.dtype(kind).itemsize)

    def _fd(self, name: str) -> int:
        if self._path:
            return os.open(self._path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if hasattr(os, "memfd_create"):
            return os.memfd_create(name)
        with tempfile.TemporaryFile() as stream:
            return os.dup(stream.fileno())


def _table_name(number: int) -> str:
    return f"slots.{number}"


def _allocate(fd: int, size: int) -> None:
    """Make a file ``size`` bytes long with room on the disk for all of them.

    A full disk is an error here: it would end the process later, at the first write to a mapped page.
    """
    before = os.fstat(fd).st_size
    if size <= before:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, before, size - before)
        return
    for start in range(before, size, 1 << 20):
        os.pwrite(fd, bytes(min(1 << 20, size - start)), start)


def _same_file(fd: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(fd), path.stat())


def _boot() -> str:
    """Which run of the operating system this is; another name each time where it cannot be told."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(8)


def _close_all(fds: dict[str, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])
