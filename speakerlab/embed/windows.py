"""Long recordings by windows: cut them, and average the embeddings of the windows as they come.

``cut(segment, duration_s=70.0, window_s=30.0)`` -> 3 segments; ``average.add(embedding, speech_s=21.0,
seconds=23.3)`` for each, then ``average.value()`` -> [E].
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from speakerlab.types import Float32Array, Segment

WINDOW_S = 40.0  # unless another length is chosen: the published CAM++ takes 0.25 GB a minute


def cut(segment: Segment, duration_s: float, window_s: float) -> list[Segment]:
    """The fewest windows of equal length, at most ``window_s`` seconds each, that cover ``segment``.

    Args:
        segment: what is cut.
        duration_s: its length; its own end may be open.
        window_s: 0 leaves everything whole.
    """
    count = math.ceil(duration_s / window_s) if window_s else 1
    if count <= 1:
        return [segment]
    edges = [segment.start_s + duration_s * n / count for n in range(count)]
    ends = [*edges[1:], segment.end_s]
    return [replace(segment, start_s=s, end_s=e) for s, e in zip(edges, ends, strict=True)]


class Average:
    """The mean [E] of length-normalised embeddings, weighted by seconds of speech.

    By plain seconds where no window has speech. A single embedding stays as it is. Only sums are kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first = np.zeros(0, np.float32)
        self._sums, self._weights = np.zeros((2, 1)), np.zeros((2, 1))  # by speech, by seconds

    def add(self, embedding: Float32Array, speech_s: float, seconds: float) -> None:
        """Take the embedding [E] of a window of ``seconds``, of which ``speech_s`` are speech."""
        weights = np.array([[speech_s], [seconds]])
        unit = embedding.astype(np.float64) / max(float(np.linalg.norm(embedding)), 1e-12)
        self._first = self._first if self.count else embedding
        self._sums = self._sums + weights * unit
        self._weights += weights
        self.count += 1

    def value(self) -> Float32Array:
        """The mean of what was added, which is one window or more."""
        if self.count == 1:
            return self._first
        row = 0 if self._weights[0] else 1
        mean: Float32Array = (self._sums[row] / self._weights[row]).astype(np.float32)
        return mean
