"""Mel-frequency cepstral coefficients as Kaldi computes them (torchaudio does the arithmetic).

In: samples [S] in [-1, 1]; out: features [T, num_ceps] float32, no mean normalisation.
Example: ``Mfcc(MfccConfig(num_ceps=20))(torch.from_numpy(waveform.samples))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from speakerlab.frontend.framing import FramedFrontend
from speakerlab.frontend.kaldi_frames import KaldiConfig, compute
from speakerlab.registry import register
from speakerlab.torchaudio_import import kaldi


@dataclass(frozen=True)
class MfccConfig(KaldiConfig):
    """Kaldi's settings with the values of its x-vector recipe (voxceleb v2).

    Attributes:
        num_ceps: cepstra kept, the one of order 0 included; at most ``num_mels``.
        cepstral_lifter: scales the higher orders up; 0 leaves them as they are.
        use_energy: the log energy of the frame before pre-emphasis and window stands in place of order 0.
    """

    num_mels: int = 30
    high_hz: float = 7600.0
    snip_edges: bool = False
    num_ceps: int = 30
    cepstral_lifter: float = 22.0
    use_energy: bool = True

    def _checks(self) -> dict[str, bool]:
        return {
            **super()._checks(),
            "num_ceps: must be 1 to num_mels": 1 <= self.num_ceps <= self.num_mels,
            "cepstral_lifter: must not be negative": self.cepstral_lifter >= 0,
        }


@register("frontend")
class Mfcc(FramedFrontend):
    """Features [T, num_ceps]."""

    Config = MfccConfig

    def __init__(self, config: MfccConfig) -> None:
        super().__init__(config.grid, config.sample_rate, config.num_ceps)
        self.config = config

    def prepare(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Samples [B, S] in the range that the settings name."""
        return samples * self.config.scale

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Cepstra [B, T, num_ceps]."""
        c = self.config
        return compute(
            kaldi.mfcc,
            frames,
            c,
            num_ceps=c.num_ceps,
            cepstral_lifter=c.cepstral_lifter,
            use_energy=c.use_energy,
            energy_floor=0.0,
        )
