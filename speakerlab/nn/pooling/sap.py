"""Self-attentive pooling: [B, C, T] to [B, C], the mean under weights of each channel's own.

``SelfAttentive(SapConfig(), in_dim=512)(x, lengths)``. Cai et al., "Exploring the encoding layer and loss
function in end-to-end speaker and language recognition system", 2018; names and shapes as in mvector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.nn.attentive_statistics import AttentionConfig, softmax_over_frames
from speakerlab.registry import register


@dataclass(frozen=True)
class SapConfig(AttentionConfig):
    """The setting of the attention network."""


@register("pooling")
class SelfAttentive(nn.Module):
    """Mean of each channel under a = softmax over time of V tanh(W x + b) + k.

    Args:
        config: width of the attention network.
        in_dim: channels C of the input.
    """

    Config = SapConfig

    def __init__(self, config: SapConfig, in_dim: int) -> None:
        super().__init__()
        self.out_dim = in_dim
        self.linear1 = nn.Conv1d(in_dim, config.bottleneck, 1)
        self.linear2 = nn.Conv1d(config.bottleneck, in_dim, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        x = layers.zero(x, padding)
        weights = softmax_over_frames(self.linear2(torch.tanh(self.linear1(x))), padding)
        return (weights * x).sum(-1).to(x.dtype)
