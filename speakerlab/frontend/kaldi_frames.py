"""Settings and framing of the Kaldi features; torchaudio does the arithmetic, on any device and in batch.

In: frames [B, T, length]; out: whatever ``torchaudio.compliance.kaldi`` computes of them, [B, T, F].
Example: ``compute(kaldi.fbank, frames, config, use_log_fbank=False)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from speakerlab.frontend.framing import FrameGrid, require, to_samples


@dataclass(frozen=True)
class KaldiConfig:
    """Every constant of Kaldi's mel energies; a model is trained for one set of them.

    Attributes:
        high_hz: upper edge of the filters; 0 or less is an offset from the Nyquist frequency.
        dither: standard deviation of noise added in the scaled domain. Training draws it with each crop, as
            an augmentation; models, extraction and stored features have none.
        scale: what samples in [-1, 1] are multiplied by: 32768 is the 16-bit range that Kaldi and
            WeSpeaker models expect, 1 what 3D-Speaker models expect.
        snip_edges: frames lie wholly inside the signal; else the edges are reflected (Kaldi).
    """

    sample_rate: int = 16000
    num_mels: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    window: Literal["povey", "hamming"] = "povey"
    preemphasis: float = 0.97
    remove_dc: bool = True
    low_hz: float = 20.0
    high_hz: float = 0.0
    dither: float = 0.0
    scale: float = 32768.0
    snip_edges: bool = True

    def __post_init__(self) -> None:
        require(self._checks())

    def _checks(self) -> dict[str, bool]:
        nyquist = self.sample_rate / 2
        top = self.high_hz if self.high_hz > 0 else nyquist + self.high_hz
        return {
            "sample_rate: must be positive": self.sample_rate > 0,
            "num_mels: must be at least 4": self.num_mels >= 4,
            "frame_length_ms: must be at least 1 ms": self.frame_length_ms >= 1,
            "frame_shift_ms: must be at least 1 ms": self.frame_shift_ms >= 1,
            "preemphasis: must be 0 to 1": 0 <= self.preemphasis <= 1,
            f"low_hz, high_hz: must rise within 0 to {nyquist:g} Hz": 0 <= self.low_hz < top <= nyquist,
            "dither: must not be negative": self.dither >= 0,
            "scale: must be positive": self.scale > 0,
            f"num_mels: some of {self.num_mels} filters hold no bin of the transform, their features are "
            "constant; take fewer filters, longer frames or a higher low_hz": (
                not self._is_valid_band(top) or self._fewest_bins(top) > 0
            ),
        }

    def _is_valid_band(self, top: float) -> bool:
        length = to_samples(self.frame_length_ms, self.sample_rate) if self.sample_rate > 0 else 0
        return length > 0 and self.num_mels >= 4 and 0 <= self.low_hz < top <= self.sample_rate / 2

    def _fewest_bins(self, top: float) -> int:
        """Bins of the transform, a power of two of samples long, strictly inside the narrowest filter."""
        size = 1 << (to_samples(self.frame_length_ms, self.sample_rate) - 1).bit_length()
        hz = np.arange(size // 2) * self.sample_rate / size
        edges = np.linspace(_mel(self.low_hz), _mel(top), self.num_mels + 2)
        mel = _mel(hz)
        inside = np.searchsorted(mel, edges[2:], "left") - np.searchsorted(mel, edges[:-2], "right")
        return int(inside.min())

    @property
    def grid(self) -> FrameGrid:
        """Kaldi's frames: inside the signal, or one centred on every shift with the edges reflected."""
        length = to_samples(self.frame_length_ms, self.sample_rate)
        shift = to_samples(self.frame_shift_ms, self.sample_rate)
        if self.snip_edges:
            return FrameGrid(length, shift)
        left = length // 2 - shift // 2
        return FrameGrid(length, shift, left, length - left - shift + shift // 2, "symmetric")


def _mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hz) / 700.0))


def compute(
    function: Callable[..., torch.Tensor], frames: torch.Tensor, config: KaldiConfig, **options: Any
) -> torch.Tensor:
    """``function`` (``kaldi.fbank`` or ``kaldi.mfcc``) of ``frames`` [B, T, length], [B, T, F].

    Laid end to end and cut at a shift of their own length, the frames come back as they are: one call for
    the whole batch, with the numbers of a call for each utterance.
    """
    feats = function(
        frames.reshape(1, -1),
        sample_frequency=config.sample_rate,
        num_mel_bins=config.num_mels,
        frame_length=config.frame_length_ms,
        frame_shift=config.frame_length_ms,
        window_type=config.window,
        preemphasis_coefficient=config.preemphasis,
        remove_dc_offset=config.remove_dc,
        low_freq=config.low_hz,
        high_freq=config.high_hz,
        dither=config.dither,
        **options,
    )
    return feats.view(*frames.shape[:2], -1)
