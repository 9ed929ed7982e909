"""Which row an id has: a hash table in a file, open addressing, for arrays of ids at once.

``table = IdTable(files)``; ``table.find(ids)`` -> rows, -1 where unknown; ``table.add(ids, rows)``;
``table.drop(ids)``. An id is at most 64 bytes of UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.voiceprint.index_files import ID_BYTES, IndexFiles

Ids = npt.NDArray[np.bytes_]
Rows = npt.NDArray[np.int64]
EMPTY, DROPPED, FIRST = 0, 1, 2  # a slot; from FIRST on it is a row, plus FIRST
MIN_SLOTS = 4096
PIECE = 65_536  # ids taken at once when the table is made anew


def encoded(ids: Iterable[str], where: object) -> Ids:
    """Ids as the index holds them.

    Raises:
        DataError: an id that is empty or longer than 64 bytes, or holds a NUL.
    """
    found = [name.encode("utf-8", "surrogatepass") for name in ids]
    for name in found:
        if not 0 < len(name) <= ID_BYTES or b"\0" in name:
            what = f"{name[:ID_BYTES]!r} cannot be an id"
            raise DataError(str(where), what, f"use 1 to {ID_BYTES} bytes without NUL")
    return np.array(found, f"S{ID_BYTES}")


def decoded(ids: Ids) -> tuple[str, ...]:
    """Ids as their owner wrote them."""
    return tuple(name.decode("utf-8", "surrogatepass") for name in ids.tolist())


class IdTable:
    """The table of the ids in ``files``, which must be held for reading or writing."""

    def __init__(self, files: IndexFiles) -> None:
        self._files = files

    def find(self, ids: Ids) -> Rows:
        """The row of each id, int64; -1 where there is none."""
        return self._places(ids)[1]

    def add(self, ids: Ids, rows: Rows) -> None:
        """Enter ids that are not in the table, for which ``reserve`` made room."""
        before = self._files.header.filled
        self._files.put(filled=before + _enter(self._files["slots"], self._hash(ids), rows))

    def move(self, ids: Ids, rows: Rows) -> None:
        """Give ids that are in the table other rows."""
        self._files["slots"][self._places(ids)[0]] = rows + FIRST

    def drop(self, ids: Ids) -> None:
        """Take ids out that are in the table."""
        self._files["slots"][self._places(ids)[0]] = DROPPED

    def reserve(self, more: int) -> None:
        """Make room for ``more`` ids: at most half of the slots are in use."""
        header = self._files.header
        if 2 * (header.filled + more) <= header.slots:
            return
        wanted = max(MIN_SLOTS, 3 * (header.live + more))
        table = self._files.table(1 << (wanted - 1).bit_length())
        for start in range(0, header.used, PIECE):
            rows = start + np.flatnonzero(self._files["live"][start : min(start + PIECE, header.used)])
            _enter(table, self._hash(self._files["ids"][rows]), rows)
        self._files.use_table(table, header.live)

    def _places(self, ids: Ids) -> tuple[Rows, Rows]:
        """Slot and row of each id; rows of -1 where it is not in the table."""
        places, rows = np.zeros(len(ids), np.int64), np.full(len(ids), -1)
        if not self._files.header.slots:
            return places, rows
        slots, known = self._files["slots"], self._files["ids"]
        mask = np.uint64(len(slots) - 1)
        at, pending = (self._hash(ids) & mask).astype(np.int64), np.arange(len(ids))
        while len(pending):
            entries = slots[at].astype(np.int64)
            taken = entries >= FIRST
            hit = np.zeros(len(pending), np.bool_)
            hit[taken] = known[entries[taken] - FIRST] == ids[pending[taken]]
            places[pending[hit]], rows[pending[hit]] = at[hit], entries[hit] - FIRST
            left = ~hit & (entries != EMPTY)
            pending, at = pending[left], (at[left] + 1) & int(mask)
        return places, rows

    def _hash(self, ids: Ids) -> npt.NDArray[np.uint64]:
        """64 bits of each id: its words, multiplied by odd numbers that the seed gives, and mixed."""
        words = np.ascontiguousarray(ids).view(np.uint64).reshape(len(ids), ID_BYTES // 8)
        factors = np.random.default_rng(self._files.header.seed).integers(
            1 << 63, size=(2, ID_BYTES // 8), dtype=np.uint64
        )
        mixed = words ^ (words >> np.uint64(29))
        total = ((mixed + factors[0]) * (factors[1] * np.uint64(2) + np.uint64(1))).sum(
            axis=1, dtype=np.uint64
        )
        total ^= total >> np.uint64(32)
        total *= np.uint64(0x9E3779B97F4A7C15)
        return np.asarray(total ^ (total >> np.uint64(29)))


def _enter(slots: npt.NDArray[np.uint32], hashes: npt.NDArray[np.uint64], rows: Rows) -> int:
    """Put rows into free slots; how many of these were empty before."""
    mask = len(slots) - 1
    at, pending, filled = (hashes & np.uint64(mask)).astype(np.int64), rows, 0
    while len(pending):
        entries = slots[at]
        free = np.flatnonzero(entries < FIRST)
        _, first = np.unique(at[free], return_index=True)
        won = free[first]
        filled += int((entries[won] == EMPTY).sum())
        slots[at[won]] = pending[won] + FIRST
        left = np.ones(len(pending), np.bool_)
        left[won] = False
        pending, at = pending[left], (at[left] + 1) & mask
    return filled
