"""Multi-head attentive statistics pooling: [B, C, T] to [B, 2C], each group of channels by itself.

``MultiHeadAttentiveStatistics(MhastpConfig(), in_dim=1536)(x, lengths)``. India et al., "Self multi-head
attention for speaker recognition", 2019 (arXiv 1906.09890). Names, shapes and order as in WeSpeaker.
"""

from __future__ import annotations

from dataclasses import dataclass

from speakerlab.nn.attentive_statistics import MultiHeadStatistics
from speakerlab.registry import register


@dataclass(frozen=True)
class MhastpConfig:
    """Settings of ``mhastp``.

    Attributes:
        num_heads: groups of channels; must divide the channels.
        bottleneck: width of each head's attention network.
        per_channel: whether each channel has weights of its own; else those of a head share them.
    """

    num_heads: int = 2
    bottleneck: int = 64
    per_channel: bool = False

    def __post_init__(self) -> None:
        for name in ("num_heads", "bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("pooling")
class MultiHeadAttentiveStatistics(MultiHeadStatistics):
    """Per head, mean and deviation under softmax over time of V tanh(W x + b) + k; then the next head.

    Args:
        config: the heads.
        in_dim: channels C of the input.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    Config = MhastpConfig

    def __init__(self, config: MhastpConfig, in_dim: int) -> None:
        super().__init__(in_dim, config.num_heads, config.bottleneck, per_channel=config.per_channel)
