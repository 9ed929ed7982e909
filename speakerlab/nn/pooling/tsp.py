"""Temporal statistics pooling with the variance: [B, C, T] to [B, 2C], over the valid frames.

``TemporalVariance(TspConfig(), in_dim=512)(x, lengths)``. What mvector calls TSP; ``tstp`` has its root.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register


@dataclass(frozen=True)
class TspConfig:
    """Nothing to set."""


@register("pooling")
class TemporalVariance(nn.Module):
    """Mean, then unbiased variance; that of one frame is 0.

    Args:
        config: nothing to set.
        in_dim: channels C of the input.
    """

    Config = TspConfig

    def __init__(self, config: TspConfig, in_dim: int) -> None:  # noqa: ARG002
        super().__init__()
        self.out_dim = 2 * in_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        return torch.cat(layers.mean_and_variance(x, padding), dim=1).to(x.dtype)
