"""Which pair of a list of any length comes twice: exact, in bounded memory.

``ledger = PairLedger(folder)``; ``ledger.add(enroll_rows, test_rows)`` for each block; ``ledger.repeated()``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

RUN_SIZE = 1 << 23  # pairs sorted together: 64 MiB
SAMPLE = 1 << 15  # one in so many pairs of a run tells how its values spread

Keys = npt.NDArray[np.int64]


class PairLedger:
    """Remembers pairs of numbers: those of short lists in memory, of longer ones in sorted runs on disk.

    A list of 10^8 trials needs 800 MB of disk, and like one of 10^7 about 200 MB of memory.

    Args:
        folder: where the file may be made, such as that of the output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: list[Keys] = []
        self._num_recent = 0
        self._runs: list[_Run] = []

    def add(self, first: npt.NDArray[np.int32], second: npt.NDArray[np.int32]) -> None:
        """Add pairs of non-negative numbers, two arrays [n]."""
        self._recent.append(first.astype(np.int64) << 32 | second)
        self._num_recent += len(first)
        if self._num_recent >= RUN_SIZE:
            self._spill()

    def repeated(self) -> tuple[int, int] | None:
        """A pair that was added twice, the least of them; None if there is none."""
        if not self._runs:
            return _repeated(_sorted(self._recent))
        self._spill()
        bounds = self._bounds()
        for start, end in zip([None, *bounds], [*bounds, None], strict=True):
            found = _repeated(_sorted([run.between(start, end) for run in self._runs]))
            if found:
                return found
        return None

    def _spill(self) -> None:
        run = _sorted(self._recent)
        self._recent, self._num_recent = [], 0
        if not len(run):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._runs.append(_Run(run, self._folder))

    def _bounds(self) -> list[np.int64]:
        """Values that cut all runs together into stretches of about one run each, however they overlap."""
        samples = np.sort(np.concatenate([run.sample for run in self._runs]))
        step = max(1, RUN_SIZE // SAMPLE)
        return list(samples[step::step])


class _Run:
    """Sorted values in a file without a name, which is gone when they are."""

    def __init__(self, values: Keys, folder: Path) -> None:
        self.sample = values[::SAMPLE].copy()
        self._stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as the run)
        values.tofile(self._stream)
        self._stream.flush()

    def between(self, start: np.int64 | None, end: np.int64 | None) -> Keys:
        """The values from ``start`` to below ``end``, so that equal ones are always together.

        A copy: pages of the file stay in memory no longer than the call.
        """
        values = np.memmap(self._stream, dtype=np.int64, mode="r")
        first = 0 if start is None else int(np.searchsorted(values, start))
        last = len(values) if end is None else int(np.searchsorted(values, end))
        return np.array(values[first:last])


def _sorted(keys: list[Keys]) -> Keys:
    together = np.concatenate([np.empty(0, dtype=np.int64), *keys])
    together.sort()
    return together


def _repeated(keys: Keys) -> tuple[int, int] | None:
    places = np.flatnonzero(keys[1:] == keys[:-1])
    if not len(places):
        return None
    key = int(keys[places[0]])
    return key >> 32, key & 0xFFFFFFFF
