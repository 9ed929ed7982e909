"""Voice activity by the network of Silero VAD (MIT), through the model file of the package ``silero-vad``.

In: samples [S] in [-1, 1] and the frames of the front end; out: float32 [T], 1 voiced, 0 not.
Example: ``SileroVad(SileroConfig(), 16000).decisions(samples, FbankConfig().grid)``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.frontend.framing import FrameGrid, require
from speakerlab.onnxruntime_import import runtime
from speakerlab.types import Float32Array

# sample rate -> samples the network takes at once, and how many of the ones before them it sees again
CHUNK = {8000: (256, 32), 16000: (512, 64)}
STATE_SHAPE = (2, 1, 128)


@dataclass(frozen=True)
class SileroConfig:
    """The rules that turn probabilities into segments, with the package's own values.

    Attributes:
        threshold: speech starts at a chunk of this probability.
        neg_threshold: it may end at one below this.
        min_speech_s: shorter segments are dropped.
        min_silence_s: shorter pauses do not end a segment.
        pad_s: segments grow by this on both sides, or by half of the pause between two.
    """

    threshold: float = 0.5
    neg_threshold: float = 0.35
    min_speech_s: float = 0.25
    min_silence_s: float = 0.1
    pad_s: float = 0.03

    def __post_init__(self) -> None:
        require(
            {
                "threshold, neg_threshold: must lie in 0..1, the second not above the first": (
                    0 <= self.neg_threshold <= self.threshold <= 1
                ),
                "min_speech_s, min_silence_s, pad_s: must not be negative": (
                    min(self.min_speech_s, self.min_silence_s, self.pad_s) >= 0
                ),
            }
        )


class SileroVad:
    """The network and the rules; utterances are independent of each other.

    Raises:
        MissingExtraError: silero-vad or onnxruntime is not installed.
        SpeakerLabError: the network does not know the sample rate.
    """

    def __init__(self, config: SileroConfig, sample_rate: int) -> None:
        if sample_rate not in CHUNK:
            raise SpeakerLabError(f"Silero VAD takes audio at 8000 or 16000 Hz, not {sample_rate}")
        onnxruntime = runtime("vad")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the chunks are small
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(model_file()), options, providers=["CPUExecutionProvider"]
        )
        self._config, self._sample_rate = config, sample_rate

    def probabilities(self, samples: Float32Array) -> list[float]:
        """Probability of speech in each chunk of ``samples`` [S]; the last is filled up with zeros."""
        size, context = CHUNK[self._sample_rate]
        padded = np.pad(samples, (context, -len(samples) % size))
        state, rate = np.zeros(STATE_SHAPE, np.float32), np.array(self._sample_rate)
        found = []
        for start in range(0, len(samples), size):
            piece = padded[None, start : start + context + size]
            output, state = self._session.run(None, {"input": piece, "state": state, "sr": rate})
            found.append(float(output[0, 0]))
        return found

    def segments(self, samples: Float32Array) -> list[tuple[int, int]]:
        """Stretches of speech of ``samples`` [S], [start, end) in samples, in order."""
        return speech_segments(self.probabilities(samples), len(samples), self._sample_rate, self._config)

    def decisions(self, samples: torch.Tensor, grid: FrameGrid) -> torch.Tensor:
        """Voice decisions float32 [T]: 1 where at least half of the frame's samples are speech."""
        speech = torch.zeros(1, len(samples))
        for start, end in self.segments(samples.float().numpy()):
            speech[0, start:end] = 1
        frames, _ = grid.cut(speech, torch.tensor([len(samples)]))
        return (frames[0].mean(dim=1) >= 0.5).float()


def model_file() -> Path:
    """The network for both sample rates; the package itself is not imported, it would set torch's threads."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        raise MissingExtraError("silero-vad", "vad")
    return Path(found.origin).parent / "data" / "silero_vad.onnx"


def speech_segments(
    probabilities: Sequence[float], num_samples: int, sample_rate: int, config: SileroConfig
) -> list[tuple[int, int]]:
    """Segments [start, end) in samples, from the probability of each chunk of ``num_samples``.

    One begins with the first chunk at ``threshold`` and ends where a pause of ``min_silence_s`` begins: from
    a chunk below ``neg_threshold``, without one at ``threshold`` after it.
    """
    pause, least = config.min_silence_s * sample_rate, config.min_speech_s * sample_rate
    found: list[tuple[int, int]] = []
    start: int | None = None
    quiet: int | None = None  # where the pause would begin
    positions = range(0, num_samples, CHUNK[sample_rate][0])
    for position, probability in zip(positions, probabilities, strict=True):
        if probability >= config.threshold:
            start = position if start is None else start
            quiet = None
        elif start is not None and probability < config.neg_threshold:
            quiet = position if quiet is None else quiet
            if position - quiet >= pause:
                found.append((start, quiet))
                start = quiet = None
    if start is not None:
        found.append((start, num_samples))
    long = [(start, end) for start, end in found if end - start > least]
    return _grow(long, num_samples, round(config.pad_s * sample_rate))


def _grow(segments: list[tuple[int, int]], num_samples: int, pad: int) -> list[tuple[int, int]]:
    """Segments with ``pad`` more on both sides, or half of what lies between two."""
    bounds = [0, *(bound for segment in segments for bound in segment), num_samples]
    gaps = [start - end for end, start in zip(bounds[::2], bounds[1::2], strict=True)]
    room = [min(pad, gap // 2) for gap in gaps]
    room[0], room[-1] = min(pad, gaps[0]), min(pad, gaps[-1])
    return [
        (start - before, end + behind)
        for (start, end), before, behind in zip(segments, room[:-1], room[1:], strict=True)
    ]
