"""The network behind a bounded queue: uploads in, embeddings out, off the event loop.

``engine = Engine(pipeline, Limits()); heard = await engine.hear([upload])`` -> ``Embedded`` each.
A worker decodes, checks and embeds one recording at a time on one core. Recordings are not batched: alone
each gives the same bits as always.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.pipeline.embedding import Embedded, embed_pieces, listen
from speakerlab.pipeline.sources import Source
from speakerlab.serve.uploads import Samples, Upload

if TYPE_CHECKING:
    from speakerlab.pipeline import Pipeline


class BusyError(SpeakerLabError):
    """More recordings wait than may: try again ``retry_s`` seconds later."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"too many recordings are waiting; try again in {retry_s} s")
        self.retry_s = retry_s


@dataclass(frozen=True)
class Limits:
    """What one server takes on.

    Attributes:
        workers: recordings that are embedded at once; 0 takes one a core.
        waiting: recordings that may wait for a worker.
        max_audio_s: length of a recording in seconds.
    """

    workers: int = 0
    waiting: int = 128
    max_audio_s: float = 120.0

    def __post_init__(self) -> None:
        if self.workers < 0 or self.waiting < 1 or not self.max_audio_s > 0:
            raise SpeakerLabError("workers, waiting and max_audio_s must be positive")

    @property
    def num_workers(self) -> int:
        """Worker threads."""
        return self.workers or len(os.sched_getaffinity(0))


class Engine:
    """Workers around one model.

    Args:
        pipeline: the model; its network must run on one thread a call, the workers are the parallelism.
        limits: how much at once.
        observe: told the seconds that each recording took a worker.
    """

    def __init__(
        self, pipeline: Pipeline, limits: Limits, observe: Callable[[float], None] = lambda _: None
    ) -> None:
        self.pipeline, self.limits = pipeline, limits
        self._observe = observe
        self._pool = ThreadPoolExecutor(limits.num_workers, thread_name_prefix="embed")
        self._pending = 0
        self._mean_s = 0.1  # of late recordings, for Retry-After

    @property
    def pending(self) -> int:
        """Recordings that wait or are being embedded."""
        return self._pending

    @property
    def is_full(self) -> bool:
        """Whether no recording may wait any more."""
        return self._pending >= self.limits.waiting + self.limits.num_workers

    def warm_up(self) -> int:
        """Run the network once: no request pays for its start; returns the embeddings' size."""
        rate = self.pipeline.embedder.sample_rate
        noise = np.random.default_rng(0).standard_normal(3 * rate, np.float32) / np.float32(10)
        return len(self._hear(Samples("warm-up", noise, rate)).embedding)

    async def hear(self, uploads: Sequence[Upload | Samples]) -> list[Embedded]:
        """The embedding of each upload, and what was found in it.

        Raises:
            BusyError: too many wait.
            AudioError: a recording that cannot be used.
        """
        if self._pending + len(uploads) > self.limits.waiting + self.limits.num_workers:
            raise BusyError(self._retry_s())
        self._pending += len(uploads)
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._pool, self._hear, upload) for upload in uploads]
        for job in jobs:  # counted down when the worker ends, be the client still there or not
            job.add_done_callback(self._finished)
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        heard = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            heard.append(outcome)
        return heard

    def close(self) -> None:
        """Finish what was taken on."""
        self._pool.shutdown(wait=True)

    def _hear(self, upload: Upload | Samples) -> Embedded:
        start = time.perf_counter()
        read = partial(upload.decode, self.limits.max_audio_s)
        try:
            embedder = self.pipeline.embedder
            options = replace(self.pipeline.options, channel=upload.channel)
            heard, pieces = listen(upload.name, Source("upload", read), embedder, options)
            embedding = embed_pieces(pieces, embedder.session)
            if not np.isfinite(embedding).all():
                raise AudioError(upload.name, "its embedding is NaN or Inf")
            return Embedded(embedding, heard)
        finally:
            taken = time.perf_counter() - start
            self._mean_s += 0.1 * (taken - self._mean_s)
            self._observe(taken)

    def _finished(self, job: asyncio.Future[Embedded]) -> None:
        self._pending -= 1
        if not job.cancelled():
            job.exception()  # looked at, else asyncio complains where the client has gone

    def _retry_s(self) -> int:
        return max(1, round(self._pending * self._mean_s / self.limits.num_workers))
