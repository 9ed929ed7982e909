"""Mel spectrogram of the short-time Fourier transform, as torchaudio.transforms and librosa compute it.

In: samples [S] in [-1, 1]; out: features [T, num_mels] float32, no mean normalisation.
Example: ``MelSpectrogram(MelSpectrogramConfig(num_mels=72, window="hamming", preemphasis=0.97))(samples)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from speakerlab.frontend.stft import StftConfig, StftFrontend
from speakerlab.registry import register
from speakerlab.torchaudio_import import functional


@dataclass(frozen=True)
class MelSpectrogramConfig(StftConfig):
    """The transform's settings, and the filters.

    3D-Speaker's RDINO and SDPN: ``use_log=False``, their networks take the logarithm. mvector: ``n_fft=400,
    frame_shift_ms=12.5, num_mels=128, use_log=False``. ReDimNet: ``window="hamming", preemphasis=0.97,
    low_hz=20, high_hz=7600, num_mels=72``; all with mean removal.

    Attributes:
        high_hz: upper edge of the filters; 0 or less is an offset from the Nyquist frequency.
        mel_scale: ``htk`` is 2595 log10(1 + f / 700), ``slaney`` linear below 1 kHz.
        mel_norm: ``slaney`` divides each filter by half its width in Hz.
    """

    num_mels: int = 80
    low_hz: float = 0.0
    high_hz: float = 0.0
    mel_scale: Literal["htk", "slaney"] = "htk"
    mel_norm: Literal["none", "slaney"] = "none"

    @property
    def top_hz(self) -> float:
        """Upper edge of the filters."""
        return self.high_hz if self.high_hz > 0 else self.sample_rate / 2 + self.high_hz

    def _checks(self) -> dict[str, bool]:
        nyquist = self.sample_rate / 2
        return {
            **super()._checks(),
            "num_mels: must be at least 4": self.num_mels >= 4,
            f"low_hz, high_hz: must rise within 0 to {nyquist:g} Hz": (
                0 <= self.low_hz < self.top_hz <= nyquist
            ),
        }


@register("frontend")
class MelSpectrogram(StftFrontend):
    """Features [T, num_mels]."""

    Config = MelSpectrogramConfig

    def __init__(self, config: MelSpectrogramConfig) -> None:
        super().__init__(config, config.num_mels)
        self.config = config
        self._filters: torch.Tensor = functional.melscale_fbanks(
            config.n_fft // 2 + 1,
            config.low_hz,
            config.top_hz,
            config.num_mels,
            config.sample_rate,
            norm=None if config.mel_norm == "none" else config.mel_norm,
            mel_scale=config.mel_scale,
        )

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Mel energies [B, T, num_mels]."""
        return self.compress(self.spectrum(frames) @ self._filters.to(frames.device))
