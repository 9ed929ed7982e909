"""x-vector in Kaldi's form: five convolutions over time without padding, a pooling, a linear layer.

``Xvector(XvectorConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 512].
Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", ICASSP 2018. Parameters have
the names and shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register

KERNEL_SIZES = (5, 3, 3, 1, 1)
DILATIONS = (1, 2, 3, 1, 1)


@dataclass(frozen=True)
class XvectorConfig:
    """Settings of ``xvector``; the defaults are those of the published models.

    Attributes:
        embed_dim: size of the embedding.
        hidden_dim: channels of the first four convolutions.
        stats_dim: channels of the fifth, which the pooling sees.
        pooling: name of the pooling.
        two_emb_layer: whether a second linear layer follows, as in WeSpeaker's.
    """

    embed_dim: int = 512
    hidden_dim: int = 512
    stats_dim: int = 1500
    pooling: str = "tstp"
    two_emb_layer: bool = False

    def __post_init__(self) -> None:
        for name in ("embed_dim", "hidden_dim", "stats_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class Xvector(nn.Module):
    """Speaker embeddings from features by convolutions over time that together take away 14 frames.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = XvectorConfig
    PAPER: ClassVar[str] = "ICASSP 2018, Snyder et al."
    VARIANTS: ClassVar[dict[str, XvectorConfig]] = {"base": XvectorConfig()}
    min_frames = 16  # two after the convolutions, for a standard deviation

    def __init__(self, config: XvectorConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        widths = (feat_dim, *[config.hidden_dim] * 4, config.stats_dim)
        for i, (size, dilation) in enumerate(zip(KERNEL_SIZES, DILATIONS, strict=True)):
            self.add_module(f"frame_{i + 1}", _FrameLayer(widths[i], widths[i + 1], size, dilation))
        self.pool, pooled_dim = layers.build_pooling(config.pooling, config.stats_dim)
        self.seg_1 = nn.Linear(pooled_dim, config.embed_dim)
        self.two_emb_layer = config.two_emb_layer
        if config.two_emb_layer:
            self.seg_bn_1 = nn.BatchNorm1d(config.embed_dim, affine=False)
            self.seg_2 = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = layers.zero(feats.transpose(1, 2), padding)  # [B, F, T]
        for i in range(1, len(KERNEL_SIZES) + 1):
            x, padding = self.get_submodule(f"frame_{i}")(x, padding)
        embedding: Tensor = self.seg_1(layers.pool(self.pool, x, padding))
        if self.two_emb_layer:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        return embedding


class _FrameLayer(nn.Module):
    """Convolution, ReLU, normalisation without scale and shift: [B, C, T] to [B, C', T - span]."""

    def __init__(self, in_channels: int, out_channels: int, size: int, dilation: int) -> None:
        super().__init__()
        self.span = dilation * (size - 1)
        self.conv_1d = nn.Conv1d(in_channels, out_channels, size, dilation=dilation)
        self.bn = nn.BatchNorm1d(out_channels, affine=False)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        # Output frame j sees input frames j to j + span, and is valid exactly where the last one is.
        padding = None if padding is None else padding[..., self.span :]
        return self.bn(torch.relu_(self.conv_1d(x))), padding
