"""One log format on stderr and one progress bar.

``2026-01-31 12:00:00 INFO extract_embeddings[3/8] message``. stdout carries results only.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
PERIOD_S = 30.0  # how often progress is said where there is no terminal


def setup(program: str, job: int = 1, num_jobs: int = 1) -> None:
    """Send log records to stderr under ``program``, with ``[job/num_jobs]`` when there are several."""
    label = f"{program}[{job}/{num_jobs}]" if num_jobs > 1 else program
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {label} %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        force=True,
    )


def notice(text: str) -> None:
    """A line that people must see: in the log where one is set up, else on standard error as it is."""
    root = logging.getLogger()
    if root.handlers and root.isEnabledFor(logging.INFO):
        logging.info("%s", text)
    else:
        sys.stderr.write(text + "\n")


def progress(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield ``items`` with a bar on a terminal, else a log line every 30 s with the time left."""
    if sys.stderr.isatty():
        from tqdm import tqdm  # here: `speakerlab --help` shows no progress

        yield from tqdm(items, desc=description, total=total, dynamic_ncols=True, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= PERIOD_S and done:
            left_s = (now - start) / done * (total - done)
            logging.info("%s %d/%d, about %.0f s left", description, done, total, left_s)
            last = now
        yield item
