"""What the attentive poolings share: softmax over valid frames, statistics under weights, attention heads.

``statistics(x, softmax_over_frames(scores, padding), floor=1e-7)``: [B, C, T] to [B, 2C].
Okabe et al., "Attentive statistics pooling", 2018. Names and shapes of parameters are the published ones.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers

WESPEAKER_FLOOR = 1e-7  # of a variance in WeSpeaker's attentive poolings; shows where a channel is constant


@dataclass(frozen=True)
class AttentionConfig:
    """Settings of an attention network over frames.

    Attributes:
        bottleneck: width of the attention network.
    """

    bottleneck: int = 128

    def __post_init__(self) -> None:
        if self.bottleneck < 1:
            raise ValueError("bottleneck: must be at least 1")


def softmax_over_frames(scores: Tensor, padding: Tensor | None) -> Tensor:
    """Weights of the frames of ``scores`` [B, C, T], 0 at padded frames, in float32 or better."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if padding is not None:
        scores = scores.masked_fill(padding, -torch.inf)
    return scores.softmax(dim=-1)


def statistics(x: Tensor, weights: Tensor, floor: float) -> Tensor:
    """Mean and standard deviation of ``x`` [B, C, T] under ``weights`` that sum to 1 over time: [B, 2C].

    Args:
        x: zero at padded frames.
        weights: [B or 1, C or 1, T].
        floor: least variance.
    """
    mean = (weights * x).sum(-1)
    variance = (weights * (x - mean.unsqueeze(-1)).square()).sum(-1)
    return torch.cat([mean, variance.clamp(min=floor).sqrt()], dim=1).to(x.dtype)


class ContextConv1d(nn.Conv1d):
    """A 1x1 convolution of [frame; context], where the context is one vector per utterance.

    The context's share of the product is the same for all frames: it is computed once, not per frame.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """[B, C, T] and [B, D], where C + D are the input channels, to [B, C', T]."""
        if context is None:
            return super().forward(x)
        frame_weight, context_weight = self.weight[:, : x.shape[1]], self.weight[:, x.shape[1] :, 0]
        return F.conv1d(x, frame_weight, self.bias) + F.linear(context, context_weight).unsqueeze(-1)


class MultiHeadStatistics(nn.Module):
    """Attentive statistics of each group of channels, which attends to frames by itself.

    Args:
        in_dim: channels C of the input.
        num_heads: groups of channels.
        bottleneck: width of each head's attention network.
        per_channel: whether each channel of a group has weights of its own, or all share one set.

    Raises:
        ValueError: ``num_heads`` does not divide ``in_dim``.
    """

    def __init__(self, in_dim: int, num_heads: int, bottleneck: int, *, per_channel: bool) -> None:
        super().__init__()
        if in_dim % num_heads:
            raise ValueError(f"num_heads: must divide the {in_dim} channels, not {num_heads}")
        self.out_dim = 2 * in_dim
        width = in_dim // num_heads
        num_scores = width if per_channel else 1
        self.heads_att_trans = nn.ModuleList(_head(width, bottleneck, num_scores) for _ in range(num_heads))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2C]: mean and deviation head by head."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        groups = layers.zero(x, padding).chunk(len(self.heads_att_trans), dim=1)
        pooled = []
        for head, group in zip(self.heads_att_trans, groups, strict=True):
            weights = softmax_over_frames(head(group), padding)
            pooled.append(statistics(group, weights, WESPEAKER_FLOOR))
        return torch.cat(pooled, dim=1)


def _head(in_dim: int, bottleneck: int, num_scores: int) -> nn.Sequential:
    hidden, scores = nn.Conv1d(in_dim, bottleneck, 1), nn.Conv1d(bottleneck, num_scores, 1)
    return nn.Sequential(OrderedDict(att_0=hidden, tanh0=nn.Tanh(), att_1=scores))
