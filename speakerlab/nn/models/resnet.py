"""ResNet: 2-D convolutions over frequency and time in four stages, a pooling, one or two linear layers.

``ResNet(ResNetConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. He et al., "Deep residual
learning", 2015; narrow, as in Zeinali et al., "BUT system description to VoxSRC 2019". Parameters have the
names and shapes of the checkpoints of 3D-Speaker and WeSpeaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from speakerlab.nn import layers, resnet_blocks
from speakerlab.registry import register

EXPANSION = {"basic": 1, "bottleneck": 4}  # output channels of a block, in channels of its 3x3 convolution


@dataclass(frozen=True)
class ResNetConfig:
    """Settings of ``resnet``; the defaults are ResNet34 with 32 channels.

    Attributes:
        embed_dim: size of the embedding.
        num_blocks: residual blocks in each of the four stages; (2, 2, 2, 2) is ResNet18.
        block: two 3x3 convolutions, or a 3x3 between two 1x1 with four times as many channels outside.
        m_channels: channels of the 3x3 convolutions of the first stage; each later stage has twice as many.
        stem_time_stride: time stride of the first convolution; 2 halves the cost of all that follows.
        pooling: name of the pooling.
        two_emb_layer: whether ReLU, batch normalisation and a second linear layer follow the first.
        norm_head: batch normalisation of the pooled statistics and of the embedding, as ECAPA-TDNN has
            after its pooling: statistics of several scales then train at one learning rate.
    """

    embed_dim: int = 192
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    block: Literal["basic", "bottleneck"] = "basic"
    m_channels: int = 32
    stem_time_stride: int = 1
    pooling: str = "tstp"
    two_emb_layer: bool = False
    norm_head: bool = False

    def __post_init__(self) -> None:
        resnet_blocks.check_num_blocks(self.num_blocks)
        if self.block not in EXPANSION:
            raise ValueError("block: must be basic or bottleneck")
        for name in ("m_channels", "embed_dim", "stem_time_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class ResNet(resnet_blocks.ResidualStages):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = ResNetConfig
    PAPER: ClassVar[str] = "arXiv 1512.03385"
    # WeSpeaker publishes them with 256 dimensions, ResNet34 too: ResNetConfig(embed_dim=256).
    VARIANTS: ClassVar[dict[str, ResNetConfig]] = {
        "resnet34": ResNetConfig(),
        "resnet18": ResNetConfig(256, (2, 2, 2, 2)),
        "resnet50": ResNetConfig(256, (3, 4, 6, 3), "bottleneck"),
        "resnet101": ResNetConfig(256, (3, 4, 23, 3), "bottleneck"),
        "resnet152": ResNetConfig(256, (3, 8, 36, 3), "bottleneck"),
        "resnet221": ResNetConfig(256, (6, 16, 48, 3), "bottleneck"),
        "resnet293": ResNetConfig(256, (10, 20, 64, 3), "bottleneck"),
    }

    def __init__(self, config: ResNetConfig, feat_dim: int) -> None:
        block = _Bottleneck if config.block == "bottleneck" else layers.ResidualBlock2d
        expansion = EXPANSION[config.block]
        super().__init__(block, config.m_channels, expansion, config.num_blocks, config.stem_time_stride)
        self.embed_dim = config.embed_dim
        self.pool, pooled_dim = layers.build_pooling(config.pooling, self.top_dim(feat_dim))
        self.pool_bn = nn.BatchNorm1d(pooled_dim) if config.norm_head else nn.Identity()
        self.seg_1 = nn.Linear(pooled_dim, config.embed_dim)
        self.two_emb_layer = config.two_emb_layer
        if config.two_emb_layer:
            self.seg_bn_1 = nn.BatchNorm1d(config.embed_dim, affine=False)
            self.seg_2 = nn.Linear(config.embed_dim, config.embed_dim)
        self.embed_bn = nn.BatchNorm1d(config.embed_dim) if config.norm_head else nn.Identity()

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        x, padding = self.encode(feats, layers.find_padding(feats, lengths, self.min_frames))
        embedding: Tensor = self.seg_1(self.pool_bn(layers.pool(self.pool, x, padding)))
        if self.two_emb_layer:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        result: Tensor = self.embed_bn(embedding)
        return result


class _Bottleneck(resnet_blocks.BottleneckBranch):
    """A bottleneck and its shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int]) -> None:
        width = out_channels // EXPANSION["bottleneck"]
        super().__init__(in_channels, width, out_channels, stride)
        self.shortcut = layers.Shortcut2d(in_channels, out_channels, stride)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding."""
        y, padding = self.convolve(x, padding)
        return torch.relu_(y.add_(self.shortcut(x))), padding
