"""Mel spectrogram of ReDimNet2 and of WeSpeaker's ``tfmel``: a transform written as TensorFlow convolutions.

In: samples [S] in [-1, 1]; out: log mel energies [T, num_mels] float32, no mean normalisation.
Example: ``TfMel(TfMelConfig())(torch.from_numpy(waveform.samples))``. Source: the code published with
arXiv 2603.11841.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from speakerlab.frontend.framing import FramedFrontend, FrameGrid, require, to_samples
from speakerlab.frontend.stft import normalise, preemphasise
from speakerlab.registry import register

EPS = 1e-8  # of the normalisation, of both limits (it and its inverse) and under the logarithm


@dataclass(frozen=True)
class TfMelConfig:
    """Its constants; the defaults are those of the published models.

    Attributes:
        normalise: the whole signal is first brought to mean 0 and deviation 1.
        preemphasis: over the whole signal; before the first sample lies the second.
    """

    sample_rate: int = 16000
    num_mels: int = 72
    n_fft: int = 512
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    normalise: bool = True
    preemphasis: float = 0.97
    low_hz: float = 20.0
    high_hz: float = 7600.0

    def __post_init__(self) -> None:
        nyquist = self.sample_rate / 2
        length = to_samples(self.frame_length_ms, self.sample_rate)
        require(
            {
                "sample_rate: must be positive": self.sample_rate > 0,
                "num_mels: must be at least 4": self.num_mels >= 4,
                "n_fft: must be even": self.n_fft % 2 == 0,
                f"frame_length_ms: must be 1 ms to n_fft, {self.n_fft} samples": (
                    self.frame_length_ms >= 1 and length <= self.n_fft
                ),
                "frame_shift_ms: must be at least 1 ms": self.frame_shift_ms >= 1,
                "preemphasis: must be 0 to 1": 0 <= self.preemphasis <= 1,
                f"low_hz, high_hz: must rise within 0 to {nyquist:g} Hz": (
                    0 <= self.low_hz < self.high_hz <= nyquist
                ),
            }
        )


@register("frontend")
class TfMel(FramedFrontend):
    """Features [T, num_mels]."""

    Config = TfMelConfig

    def __init__(self, config: TfMelConfig) -> None:
        self.config = config
        length = to_samples(config.frame_length_ms, config.sample_rate)
        shift = to_samples(config.frame_shift_ms, config.sample_rate)
        grid = FrameGrid(length, shift, shift // 2, shift // 2, "zeros")
        super().__init__(grid, config.sample_rate, config.num_mels)
        self._window = torch.hamming_window(length, periodic=False)
        self._filters = filters(config)

    def prepare(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Signals [B, S], normalised and pre-emphasised if asked."""
        if self.config.normalise:
            samples = normalise(samples, lengths, EPS)
        return preemphasise(samples, self.config.preemphasis) if self.config.preemphasis else samples

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Log mel energies [B, T, num_mels]; the window lies at the start of the transform."""
        spectra = torch.fft.rfft(frames * self._window.to(frames.device), n=self.config.n_fft)
        power = spectra[..., :-1].abs().square().clamp(EPS, 1 / EPS)
        energies: torch.Tensor = power @ self._filters.to(frames.device)
        return (energies.clamp(EPS, 1 / EPS) + EPS).log()


def filters(config: TfMelConfig) -> torch.Tensor:
    """Triangles on the HTK mel scale [n_fft / 2, num_mels].

    The bins are taken to reach the Nyquist frequency, which the transform's last bin here falls short of: so
    the published networks were trained.
    """
    bins_hz = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2, dtype=torch.float64)
    ends_hz = torch.tensor([config.low_hz, config.high_hz], dtype=torch.float64)
    bins, (low, high) = (2595 * torch.log10(1 + hz / 700) for hz in (bins_hz, ends_hz))
    edges = torch.linspace(float(low), float(high), config.num_mels + 2, dtype=torch.float64)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()
