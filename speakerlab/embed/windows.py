"""Long recordings by windows: cut them, and join the embeddings of the windows into one.

``cut(segment, duration_s=70.0, window_s=30.0)`` -> 3 segments; ``join(embeddings, seconds)`` -> [E].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from speakerlab.types import Float32Array, Segment


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


def join(embeddings: Sequence[Float32Array], seconds: Sequence[float]) -> Float32Array:
    """The mean [E] of the length-normalised ``embeddings``, weighted by ``seconds``; one stays as it is."""
    if len(embeddings) == 1:
        return embeddings[0]
    matrix = np.stack(embeddings).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.average(matrix, axis=0, weights=seconds).astype(np.float32)
