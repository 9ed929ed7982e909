"""Make the next items in a thread while the current one is used.

``for item in prefetched(items, depth=4): ...`` gives ``items`` in order; what they raise is raised here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def prefetched(items: Iterable[T], depth: int) -> Iterator[T]:
    """``items``, of which at most ``depth`` wait; the thread ends with the iteration, finished or not."""
    waiting: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 (raised again where the items are used)
            put(_Failed(error))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item  # type: ignore[misc]  # what is neither mark came from ``items``
    finally:
        stop.set()
        thread.join()
