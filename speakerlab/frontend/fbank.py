"""Log mel filter-bank energies as Kaldi computes them (torchaudio does the arithmetic).

In: samples [S] in [-1, 1]; out: features [T, num_mels] float32, no mean normalisation.
Example: ``Fbank(FbankConfig(num_mels=40))(torch.from_numpy(waveform.samples))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from speakerlab.frontend.framing import FramedFrontend
from speakerlab.frontend.kaldi_frames import KaldiConfig, compute
from speakerlab.registry import register
from speakerlab.torchaudio_import import kaldi


@dataclass(frozen=True)
class FbankConfig(KaldiConfig):
    """Kaldi's settings, and what becomes of the energies.

    Attributes:
        use_power: power spectrum, else magnitude.
        use_log: natural logarithm of the energies, floored at ``log_floor``.
        log_floor: least energy under the logarithm; the default is Kaldi's, float32 epsilon.
    """

    use_power: bool = True
    use_log: bool = True
    log_floor: float = 1.1920928955078125e-07

    def _checks(self) -> dict[str, bool]:
        return {**super()._checks(), "log_floor: must be positive": self.log_floor > 0}


@register("frontend")
class Fbank(FramedFrontend):
    """Features [T, num_mels]."""

    Config = FbankConfig

    def __init__(self, config: FbankConfig) -> None:
        super().__init__(config.grid, config.sample_rate, config.num_mels)
        self.config = config

    def prepare(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Samples [B, S] in the range that the settings name."""
        return samples * self.config.scale

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Mel energies [B, T, num_mels]."""
        c = self.config
        # the floor under the logarithm is a setting here, a constant in torchaudio
        energies = compute(kaldi.fbank, frames, c, use_power=c.use_power, use_log_fbank=False)
        return energies.clamp(min=c.log_floor).log() if c.use_log else energies
