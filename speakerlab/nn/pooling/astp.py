"""Attentive statistics pooling as in WeSpeaker, without normalisation: [B, C, T] to [B, 2C].

``AttentiveStatistics(AstpConfig(), in_dim=1536)(x, lengths)``. Okabe et al., "Attentive statistics pooling",
2018, with weights per channel. Parameters have the names and shapes of WeSpeaker's checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.nn.attentive_statistics import (
    WESPEAKER_FLOOR,
    AttentionConfig,
    ContextConv1d,
    softmax_over_frames,
    statistics,
)
from speakerlab.registry import register


@dataclass(frozen=True)
class AstpConfig(AttentionConfig):
    """Settings of ``astp``: that of the attention network, and one more.

    Attributes:
        global_context: whether attention sees the mean and deviation of the utterance beside each frame.
    """

    global_context: bool = False


@register("pooling")
class AttentiveStatistics(nn.Module):
    """Mean and deviation of each channel under a = softmax over time of V tanh(W x + b) + k.

    The deviation of the context, if any, is sqrt(unbiased variance + 1e-7).

    Args:
        config: the attention network.
        in_dim: channels C of the input.
    """

    Config = AstpConfig

    def __init__(self, config: AstpConfig, in_dim: int) -> None:
        super().__init__()
        self.out_dim = 2 * in_dim
        self.global_context = config.global_context
        self.linear1 = ContextConv1d(in_dim * (3 if config.global_context else 1), config.bottleneck, 1)
        self.linear2 = nn.Conv1d(config.bottleneck, in_dim, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        x = layers.zero(x, padding)
        context = None
        if self.global_context:
            mean, variance = layers.mean_and_variance(x, padding)
            context = torch.cat([mean, (variance + WESPEAKER_FLOOR).sqrt()], dim=1).to(x.dtype)
        scores = self.linear2(torch.tanh(self.linear1(x, context)))
        return statistics(x, softmax_over_frames(scores, padding), WESPEAKER_FLOOR)
