"""Multi-query multi-head attentive statistics pooling: [B, C, T] to [B, 2QC] for Q queries.

``MultiQueryAttentiveStatistics(MqmhastpConfig(), in_dim=1536)(x, lengths)``. Zhao et al., "Multi-query
multi-head attention pooling", 2021 (arXiv 2110.05042). Names, shapes and order as in WeSpeaker.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn.attentive_statistics import MultiHeadStatistics
from speakerlab.registry import register


@dataclass(frozen=True)
class MqmhastpConfig:
    """Settings of ``mqmhastp``.

    Attributes:
        num_queries: multi-head poolings side by side.
        num_heads: groups of channels of each; must divide the channels.
        bottleneck: width of each head's attention network.
        per_channel: whether each channel has weights of its own; else those of a head share them.
    """

    num_queries: int = 2
    num_heads: int = 8
    bottleneck: int = 64
    per_channel: bool = True

    def __post_init__(self) -> None:
        for name in ("num_queries", "num_heads", "bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("pooling")
class MultiQueryAttentiveStatistics(nn.Module):
    """Several multi-head attentive statistics of the same frames, one after the other.

    Args:
        config: queries and heads.
        in_dim: channels C of the input.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    Config = MqmhastpConfig

    def __init__(self, config: MqmhastpConfig, in_dim: int) -> None:
        super().__init__()
        self.out_dim = 2 * in_dim * config.num_queries
        self.n_query = nn.ModuleList(
            MultiHeadStatistics(in_dim, config.num_heads, config.bottleneck, per_channel=config.per_channel)
            for _ in range(config.num_queries)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, 2QC]."""
        return torch.cat([query(x, lengths) for query in self.n_query], dim=1)
