"""Temporal statistics pooling: [B, C, T] to [B, 2C], mean and standard deviation over the valid frames.

``TemporalStatistics(TstpConfig(), in_dim=512)(x, lengths)``. Snyder et al., "X-vectors", 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register

EPSILON = 1e-8  # inside the root, as in the public ResNet checkpoints; keeps its gradient finite


@dataclass(frozen=True)
class TstpConfig:
    """Nothing to set."""


@register("pooling")
class TemporalStatistics(nn.Module):
    """Mean, then sqrt(unbiased variance + 1e-8); one frame has variance 0.

    Args:
        config: nothing to set.
        in_dim: channels C of the input.
    """

    Config = TstpConfig

    def __init__(self, config: TstpConfig, in_dim: int) -> None:  # noqa: ARG002
        super().__init__()
        self.out_dim = 2 * in_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        mean, variance = layers.mean_and_variance(x, padding)
        return torch.cat([mean, (variance + EPSILON).sqrt()], dim=1).to(x.dtype)
