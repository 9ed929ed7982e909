"""Spectrogram of the short-time Fourier transform, linear or logarithmic, power or magnitude.

In: samples [S] in [-1, 1]; out: features [T, n_fft / 2 + 1] float32, no mean normalisation.
Example: ``Spectrogram(SpectrogramConfig(use_power=False))(torch.from_numpy(waveform.samples))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from speakerlab.frontend.stft import StftConfig, StftFrontend
from speakerlab.registry import register

STANDARD_EPS = 1e-5  # GhostVLAD's


@dataclass(frozen=True)
class SpectrogramConfig(StftConfig):
    """The transform's settings, and what GhostVLAD does besides.

    GhostVLAD: ``edges="zeros", use_power=False, use_log=False, standardise_bins=True, append_reversed=True``
    without mean removal. mvector: ``n_fft=400, frame_shift_ms=12.5, use_log=False`` with it.

    Attributes:
        standardise_bins: each frame less its mean over the bins, over its population deviation + 1e-5.
        append_reversed: the signal is followed by its time reversal; there are twice as many frames.
    """

    standardise_bins: bool = False
    append_reversed: bool = False


@register("frontend")
class Spectrogram(StftFrontend):
    """Features [T, n_fft / 2 + 1]."""

    Config = SpectrogramConfig

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__(config, config.n_fft // 2 + 1, mirrored=config.append_reversed)
        self.config = config

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Spectra [B, T, n_fft / 2 + 1]."""
        spectra = self.compress(self.spectrum(frames))
        if not self.config.standardise_bins:
            return spectra
        deviation, mean = torch.std_mean(spectra, dim=-1, correction=0, keepdim=True)
        return (spectra - mean) / (deviation + STANDARD_EPS)
