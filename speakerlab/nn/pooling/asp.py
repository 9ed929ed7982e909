"""Attentive statistics pooling as in ECAPA-TDNN: [B, C, T] to [B, 2C].

``ChannelAttentiveStatistics(AspConfig(), in_dim=1536)(x, lengths)``. Desplanques et al., "ECAPA-TDNN", 2020,
2.2. Parameters have the names and shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.nn.attentive_statistics import AttentionConfig, ContextConv1d, softmax_over_frames, statistics
from speakerlab.registry import register

FLOOR = 1e-12  # of a variance, as in the published models


@dataclass(frozen=True)
class AspConfig(AttentionConfig):
    """Settings of ``asp``: that of the attention network, and one more.

    Attributes:
        global_context: whether attention sees the mean and deviation of the utterance beside each frame.
    """

    global_context: bool = True


@register("pooling")
class ChannelAttentiveStatistics(nn.Module):
    """Mean and deviation of each channel under its own weights, a softmax over time.

    The scores are V tanh(BN(ReLU(W [x; mean; deviation] + b))) + k; deviations are biased.

    Args:
        config: the attention network.
        in_dim: channels C of the input.
    """

    Config = AspConfig

    def __init__(self, config: AspConfig, in_dim: int) -> None:
        super().__init__()
        self.out_dim = 2 * in_dim
        self.global_context = config.global_context
        hidden = ContextConv1d(in_dim * (3 if config.global_context else 1), config.bottleneck, 1)
        norm = nn.BatchNorm1d(config.bottleneck)
        self.tdnn = layers.named(conv=layers.named(conv=hidden), norm=layers.named(norm=norm))
        self.conv = layers.named(conv=nn.Conv1d(config.bottleneck, in_dim, 1))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        x = layers.zero(x, padding)
        context = None
        if self.global_context:
            frames = layers.valid_frames(x, padding).to(torch.promote_types(x.dtype, torch.float32))
            context = statistics(x, frames / frames.sum(-1, keepdim=True), FLOOR)
        hidden = torch.relu(self.tdnn.get_submodule("conv.conv")(x, context))
        scores = self.conv(torch.tanh(self.tdnn.get_submodule("norm")(hidden)))
        return statistics(x, softmax_over_frames(scores, padding), FLOOR)
