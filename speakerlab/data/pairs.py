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
    """Remembers pairs of numbers: sorted runs, from the second run on in a file that has no name.

    A list of 10^8 trials needs 800 MB of disk and about 200 MB of memory.

    Args:
        folder: where the file may be made, such as that of the output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: list[Keys] = []
        self._num_recent = 0
        self._runs: list[Keys] = []

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
            found = _repeated(_sorted([_between(run, start, end) for run in self._runs]))
            if found:
                return found
        return None

    def _spill(self) -> None:
        run = _sorted(self._recent)
        self._recent, self._num_recent = [], 0
        if not len(run):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as stream:
            run.tofile(stream)
            stream.flush()
            self._runs.append(np.memmap(stream, dtype=np.int64, mode="r"))  # keeps the file

    def _bounds(self) -> list[np.int64]:
        """Values that cut all runs together into stretches of about one run each, however they overlap."""
        samples = np.sort(np.concatenate([run[::SAMPLE] for run in self._runs]))
        step = max(1, RUN_SIZE // SAMPLE)
        return list(samples[step::step])


def _sorted(keys: list[Keys]) -> Keys:
    together = np.concatenate([np.empty(0, dtype=np.int64), *keys])
    together.sort()
    return together


def _between(run: Keys, start: np.int64 | None, end: np.int64 | None) -> Keys:
    """The values from ``start`` to below ``end``, so that equal ones are always together."""
    first = 0 if start is None else int(np.searchsorted(run, start))
    last = len(run) if end is None else int(np.searchsorted(run, end))
    return run[first:last]


def _repeated(keys: Keys) -> tuple[int, int] | None:
    places = np.flatnonzero(keys[1:] == keys[:-1])
    if not len(places):
        return None
    key = int(keys[places[0]])
    return key >> 32, key & 0xFFFFFFFF
