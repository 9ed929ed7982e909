"""Whether an ONNX file computes what the network does, in ONNX Runtime, at several lengths.

``check(path, model, feature_inputs(model, feat_dim))`` returns the largest relative error, or raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from speakerlab.errors import SpeakerLabError
from speakerlab.hub import onnx_file

if TYPE_CHECKING:
    from speakerlab.hub.onnx_waveform import WaveformEmbedder

# Around the multiples of 100 after a stride of 2, where runtimes have differed in CAM++'s pooling.
FRAMES = (199, 200, 201, 298, 345, 500)
TOLERANCE = 1e-3  # of the largest component; float32 in another order of operations stays below 2e-4


def frame_counts(model: torch.nn.Module) -> list[int]:
    """Lengths to look at, in frames: the shortest that the network takes, and ``FRAMES``."""
    shortest = int(cast("int", model.min_frames))
    return sorted({shortest, *(n for n in FRAMES if n > shortest)})


def feature_inputs(model: torch.nn.Module, feat_dim: int) -> Iterator[torch.Tensor]:
    """Random features [B, T, F] of one to three utterances, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    for n, num_frames in enumerate(frame_counts(model)):
        yield 2 * torch.randn(1 + n % 3, num_frames, feat_dim, generator=generator)


def waveform_inputs(embedder: WaveformEmbedder) -> Iterator[torch.Tensor]:
    """Noise [B, S], loud and quiet, of the lengths in ``frame_counts`` and some samples more."""
    generator = torch.Generator().manual_seed(0)
    for n, num_frames in enumerate(frame_counts(embedder.model)):
        size = embedder.min_samples(num_frames) + 37 * n % 160
        yield (0.1, 1e-3)[n % 2] * torch.randn(1 + n % 3, size, generator=generator)


@torch.inference_mode()
def check(path: Path, model: torch.nn.Module, inputs: Iterable[torch.Tensor]) -> float:
    """Largest error of the graph's embeddings, relative to the largest component of the network's.

    Raises:
        SpeakerLabError: it is above ``TOLERANCE`` for an input, or a value is not finite.
        MissingExtraError: onnxruntime is not installed.
    """
    run, worst = onnx_file.open_session(path, onnx_file.session_settings(0)), 0.0
    name = run.get_inputs()[0].name
    for each in inputs:
        expected = model(each).numpy()
        (found,) = run.run(["embedding"], {name: each.numpy()})
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not error <= TOLERANCE:
            raise SpeakerLabError(
                f"the ONNX graph differs from the network by {error:.1e} (relative) for an input of "
                f"{tuple(each.shape)}; nothing was written, try another version of onnxruntime or torch"
            )
        worst = max(worst, error)
    return worst
