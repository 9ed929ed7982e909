"""What is wrong with a data dir: raised at the first fault, or collected until all are known.

Every reader of ``speakerlab.data`` takes ``report``: ``stop`` (the default) raises, a ``Faults()`` collects
while the reader goes on as if the fault were repaired. ``for line in faults.lines(): ...`` lists them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from speakerlab.errors import DataError

Report = Callable[[DataError], None]
REPAIR = "run speakerlab.bin.fix_data to "  # opens the remedy of each fault that the fixer repairs
MAX_LISTED = 20  # of one kind


def stop(fault: DataError) -> None:
    """Raise ``fault``."""
    raise fault


class Faults:
    """A ``Report`` that keeps the first 20 faults of a kind and counts them all.

    A kind is one remedy in one file: remedies are fixed sentences, what is wrong names the ids.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], list[DataError]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def __call__(self, fault: DataError) -> None:
        """Count ``fault``; keep it if it is among the first of its kind."""
        kind = fault.path, fault.fix
        self._counts[kind] += 1
        if self._counts[kind] <= MAX_LISTED:
            self._first.setdefault(kind, []).append(fault)

    def __len__(self) -> int:
        """Number of faults, those not kept included."""
        return self._counts.total()

    def lines(self) -> Iterator[str]:
        """One line per kept fault, then how many more there are of its kind."""
        for kind, faults in self._first.items():
            yield from map(str, faults)
            more = self._counts[kind] - len(faults)
            if more:
                yield f"{kind[0]}: ... and {more} more; {kind[1]}"

    def kinds(self) -> Iterator[tuple[DataError, int]]:
        """The first fault of each kind and how many there are."""
        for kind, faults in self._first.items():
            yield faults[0], self._counts[kind]
