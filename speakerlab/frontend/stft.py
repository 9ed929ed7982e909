"""Settings and spectrum of the short-time Fourier transform, as torch.stft and librosa frame it.

In: frames [B, T, n_fft]; out: power or magnitude [B, T, n_fft / 2 + 1].
Example: ``class Spectrogram(StftFrontend)`` of ``spectrogram.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from speakerlab.frontend.framing import FramedFrontend, FrameGrid, require, to_samples, within

NORMALISE_EPS = 1e-6  # ReDimNet's


@dataclass(frozen=True)
class StftConfig:
    """Every constant between the samples and the spectrum.

    Attributes:
        n_fft: size of the transform; frames are this long.
        frame_length_ms: length of the window, which lies in the middle of the frame.
        window: periodic, as torch and librosa make them.
        edges: frame t is centred on sample t * shift and the signal continues as its mirror image
            (``reflect``: torch, torchaudio) or as zeros (``zeros``: librosa >= 0.10); ``none``: frames lie
            wholly inside the signal.
        normalise: the whole signal is first brought to mean 0 and deviation 1 (ReDimNet's ``norm_signal``).
        preemphasis: x[n] - preemphasis * x[n - 1] over the whole signal; before the first sample lies the
            second (ReDimNet).
        use_power: squared magnitudes, else magnitudes.
        use_log: natural logarithm of max(x, log_floor) + log_offset.
    """

    sample_rate: int = 16000
    n_fft: int = 512
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    window: Literal["hann", "hamming"] = "hann"
    edges: Literal["reflect", "zeros", "none"] = "reflect"
    normalise: bool = False
    preemphasis: float = 0.0
    use_power: bool = True
    use_log: bool = True
    log_floor: float = 0.0
    log_offset: float = 1e-6

    def __post_init__(self) -> None:
        require(self._checks())

    def _checks(self) -> dict[str, bool]:
        length = to_samples(self.frame_length_ms, self.sample_rate)
        return {
            "sample_rate: must be positive": self.sample_rate > 0,
            "n_fft: must be even": self.n_fft % 2 == 0,
            f"frame_length_ms: must be 1 ms to n_fft, {self.n_fft} samples": (
                self.frame_length_ms >= 1 and length <= self.n_fft
            ),
            "frame_shift_ms: must be at least 1 ms": self.frame_shift_ms >= 1,
            "preemphasis: must be 0 to 1": 0 <= self.preemphasis <= 1,
            "log_floor, log_offset: must not be negative, nor both be 0": (
                min(self.log_floor, self.log_offset) >= 0 < max(self.log_floor, self.log_offset)
            ),
        }


class StftFrontend(FramedFrontend):
    """What front ends on the transform share.

    Args:
        config: its settings.
        dim: features per frame.
        mirrored: the signal is followed by its time reversal.
    """

    def __init__(self, config: StftConfig, dim: int, *, mirrored: bool = False) -> None:
        shift = to_samples(config.frame_shift_ms, config.sample_rate)
        half = 0 if config.edges == "none" else config.n_fft // 2
        grid = FrameGrid(config.n_fft, shift, half, half, config.edges, mirrored)
        super().__init__(grid, config.sample_rate, dim)
        self._window = centred_window(config)
        self._settings = config

    def prepare(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Signals [B, S], normalised and pre-emphasised if asked."""
        if self._settings.normalise:
            samples = normalise(samples, lengths, NORMALISE_EPS)
        return preemphasise(samples, self._settings.preemphasis) if self._settings.preemphasis else samples

    def spectrum(self, frames: torch.Tensor) -> torch.Tensor:
        """Magnitude or power [B, T, n_fft / 2 + 1] of ``frames`` [B, T, n_fft]."""
        magnitude: torch.Tensor = torch.fft.rfft(frames * self._window.to(frames.device)).abs()
        return magnitude.square() if self._settings.use_power else magnitude

    def compress(self, values: torch.Tensor) -> torch.Tensor:
        """The logarithm that the settings describe, or ``values`` as they are."""
        c = self._settings
        return (values.clamp(min=c.log_floor) + c.log_offset).log() if c.use_log else values


def centred_window(config: StftConfig) -> torch.Tensor:
    """The window [n_fft], zero around its ``frame_length_ms``."""
    length = to_samples(config.frame_length_ms, config.sample_rate)
    window = torch.hann_window(length) if config.window == "hann" else torch.hamming_window(length)
    before = (config.n_fft - length) // 2
    padded: torch.Tensor = torch.nn.functional.pad(window, (before, config.n_fft - length - before))
    return padded


def normalise(samples: torch.Tensor, lengths: torch.Tensor, eps: float) -> torch.Tensor:
    """``samples`` [B, S] less their mean, over their population deviation + ``eps``; 0 behind each end."""
    kept, count = within(lengths, samples.shape[1]), lengths[:, None]
    mean = samples.masked_fill(~kept, 0).sum(dim=1, keepdim=True) / count
    centred = (samples - mean).masked_fill(~kept, 0)
    deviation = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / (deviation + eps)


def preemphasise(samples: torch.Tensor, factor: float) -> torch.Tensor:
    """Each of ``samples`` [B, S] less ``factor`` times the one before; the second stands before the first."""
    return samples - factor * torch.cat([samples[:, 1:2], samples[:, :-1]], dim=1)
