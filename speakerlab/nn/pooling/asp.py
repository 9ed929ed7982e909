"""Attentive statistics pooling with global context: [B, C, T] to [B, 2C].

``AttentiveStatistics(AspConfig(), in_dim=1536)(x, lengths)``. Each channel attends to frames by itself.
Okabe et al., "Attentive statistics pooling", 2018; context as in Desplanques et al., "ECAPA-TDNN", 2020, 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register


@dataclass(frozen=True)
class AspConfig:
    """Settings of ``asp``.

    Attributes:
        bottleneck: width of the attention network.
    """

    bottleneck: int = 128

    def __post_init__(self) -> None:
        if self.bottleneck < 1:
            raise ValueError("bottleneck: must be at least 1")


@register("pooling")
class AttentiveStatistics(nn.Module):
    """Mean and standard deviation under a = softmax over time of V tanh(W [x; mean; std] + b).

    No batch normalisation: the attention is a bounded function of one utterance. W is kept in two
    parts because that of the mean and deviation is the same for all frames. V has no bias, which the
    softmax would cancel.

    Args:
        config: width of the bottleneck.
        in_dim: channels C of the input.
    """

    Config = AspConfig

    def __init__(self, config: AspConfig, in_dim: int) -> None:
        super().__init__()
        self.out_dim = 2 * in_dim
        self.frame = nn.Conv1d(in_dim, config.bottleneck, 1)
        self.context = nn.Linear(2 * in_dim, config.bottleneck, bias=False)
        self.score = nn.Conv1d(config.bottleneck, in_dim, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        x = layers.zero(x, padding)
        mean, variance = layers.mean_and_variance(x, padding)
        context = torch.cat([mean, layers.deviation(variance)], dim=1).to(x.dtype)
        hidden = torch.tanh(self.frame(x) + self.context(context).unsqueeze(-1))
        scores = self.score(hidden).to(mean.dtype)
        if padding is not None:
            scores = scores.masked_fill(padding, -torch.inf)
        weights = scores.softmax(dim=-1)
        mean = (weights * x).sum(-1)
        variance = (weights * (x - mean.unsqueeze(-1)).square()).sum(-1)
        return torch.cat([mean, layers.deviation(variance)], dim=1).to(x.dtype)
