"""What runs a network: model inputs in, embeddings out, whatever library does the sums.

``session.embed([feats])`` -> float32 [1, E]; ``embed.backends.open_session`` gives one for a bundle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from speakerlab.cache import user_cache
from speakerlab.errors import SpeakerLabError
from speakerlab.types import Float32Array

BACKENDS = ("torch", "onnx", "openvino")
PRECISIONS = ("fp32", "bf16")


def num_cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class SessionConfig:
    """How a network is run, such as ``SessionConfig(backend="openvino", precision="bf16")``.

    Attributes:
        cache_dir: where exported and compiled graphs are kept; the user's cache.
        backend: ``torch``, ``onnx`` (ONNX Runtime), ``openvino``, or ``auto``: the fastest on this machine.
        precision: ``fp32`` or ``bf16``.
        num_threads: threads of one network call, one for each core; PyTorch has a number of its own for the
            whole process (``torch.set_num_threads``).
        graph: a file of ``speakerlab export`` of this model that is run instead; not by ``torch``.
    """

    cache_dir: Path = field(default_factory=user_cache)
    backend: str = "torch"
    precision: str = "fp32"
    num_threads: int = field(default_factory=num_cores)
    graph: Path | None = None

    def __post_init__(self) -> None:
        if self.graph is not None and self.backend == "torch":
            raise SpeakerLabError("back-end torch runs no graph; use --backend onnx with --graph")


class Session(Protocol):
    """A network ready to run."""

    def embed(self, batch: Sequence[Float32Array]) -> Float32Array:
        """Embeddings [B, E] of inputs as if each were alone: features [T, F], or samples [S]."""
        ...


def by_length(batch: Sequence[Float32Array], run: Callable[[Float32Array], Float32Array]) -> Float32Array:
    """``run`` ([B, T, F] -> [B, E]) on the inputs of each length together, rows in the order of ``batch``.

    An exported graph knows no padding, so only equal lengths share a call.
    """
    lengths: dict[int, list[int]] = {}
    for row, feats in enumerate(batch):
        lengths.setdefault(len(feats), []).append(row)
    found = [run(np.stack([batch[row] for row in rows])) for rows in lengths.values()]
    order = np.concatenate([np.asarray(rows) for rows in lengths.values()])
    result: Float32Array = np.concatenate(found)[np.argsort(order)]
    return result
