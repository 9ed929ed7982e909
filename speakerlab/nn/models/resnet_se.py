"""ResNetSE: a narrow ResNet of bottleneck blocks whose channels are scaled by squeeze and excitation.

``ResNetSE(ResNetSEConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Hu et al.,
"Squeeze-and-excitation networks", 2018. Parameters have the names and shapes of mvector's ResNetSE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab.nn import layers, resnet_blocks
from speakerlab.registry import register

EXPANSION = 2  # output channels of a block, in channels of its 3x3 convolution
REDUCTION = 8  # channels of a block, in units of its excitation's hidden layer


@dataclass(frozen=True)
class ResNetSEConfig:
    """Settings of ``resnet_se``; the defaults are those of the published models.

    Attributes:
        embed_dim: size of the embedding.
        num_blocks: residual blocks in each of the four stages.
        m_channels: channels of the 3x3 convolutions of the first stage; each later stage has twice as many.
        pooling: name of the pooling.
    """

    embed_dim: int = 192
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    m_channels: int = 32
    pooling: str = "asp"

    def __post_init__(self) -> None:
        resnet_blocks.check_num_blocks(self.num_blocks)
        if self.embed_dim < 1:
            raise ValueError("embed_dim: must be at least 1")
        if self.m_channels * EXPANSION < REDUCTION:
            raise ValueError(f"m_channels: must be at least {REDUCTION // EXPANSION}")


@register("model")
class ResNetSE(resnet_blocks.ResidualStages):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = ResNetSEConfig
    PAPER: ClassVar[str] = "arXiv 1709.01507"
    VARIANTS: ClassVar[dict[str, ResNetSEConfig]] = {"base": ResNetSEConfig()}

    def __init__(self, config: ResNetSEConfig, feat_dim: int) -> None:
        super().__init__(_Block, config.m_channels, EXPANSION, config.num_blocks)
        self.embed_dim = config.embed_dim
        self.pooling, pooled_dim = layers.build_pooling(config.pooling, self.top_dim(feat_dim))
        self.bn2 = nn.BatchNorm1d(pooled_dim)
        self.linear = nn.Linear(pooled_dim, config.embed_dim)
        self.bn3 = nn.BatchNorm1d(config.embed_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        x, padding = self.encode(feats, layers.find_padding(feats, lengths, self.min_frames))
        embedding: Tensor = self.bn3(self.linear(self.bn2(layers.pool(self.pooling, x, padding))))
        return embedding


class _Block(resnet_blocks.BottleneckBranch):
    """A bottleneck, scaled by its excitation, and its shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels // EXPANSION, out_channels, stride)
        self.se = _Excitation(out_channels)
        self.downsample = layers.Shortcut2d(in_channels, out_channels, stride)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        y, padding = self.convolve(x, padding)
        y = y * self.se(y, padding)
        return torch.relu_(y.add_(self.downsample(x))), padding


class _Excitation(nn.Module):
    """A factor per channel from the channel means: [B, C, F, T] to [B, C, 1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        mean, _ = layers.spatial_mean(x, padding)
        factor: Tensor = self.fc(mean.flatten(1).to(x.dtype))
        return factor[..., None, None]
