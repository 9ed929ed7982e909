"""Temporal average pooling: [B, C, T] to [B, C], the mean over the valid frames.

``TemporalAverage(TapConfig(), in_dim=512)(x, lengths)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register


@dataclass(frozen=True)
class TapConfig:
    """Nothing to set."""


@register("pooling")
class TemporalAverage(nn.Module):
    """Mean over time.

    Args:
        config: nothing to set.
        in_dim: channels C of the input.
    """

    Config = TapConfig

    def __init__(self, config: TapConfig, in_dim: int) -> None:  # noqa: ARG002
        super().__init__()
        self.out_dim = in_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        return layers.mean_and_variance(x, padding)[0].to(x.dtype)
