"""The samples themselves as features of one column, for networks that begin at the waveform.

In: samples [S] in [-1, 1]; out: [S, 1] float32. Example: ``Waveform(WaveformConfig())(samples)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from speakerlab.frontend.framing import FramedFrontend, FrameGrid, require
from speakerlab.registry import register


@dataclass(frozen=True)
class WaveformConfig:
    """The rate, in Hz, that samples must have."""

    sample_rate: int = 16000

    def __post_init__(self) -> None:
        require({"sample_rate: must be positive": self.sample_rate > 0})


@register("frontend")
class Waveform(FramedFrontend):
    """A frame is a sample."""

    Config = WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        self.config = config
        super().__init__(FrameGrid(1, 1), config.sample_rate, 1)

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """[B, S, 1] as it is."""
        return frames
