"""ResNet: 2-D convolutions over frequency and time in four stages, a pooling, one or two linear layers.

``ResNet(ResNetConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. He et al., "Deep residual
learning", 2015; narrow, as in Zeinali et al., "BUT system description to VoxSRC 2019". Parameters have the
names and shapes of the ResNet34 checkpoints of the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register

STRIDES = (1, 2, 2, 2)  # of the four stages, in frequency and time


@dataclass(frozen=True)
class ResNetConfig:
    """Settings of ``resnet``; the defaults are ResNet34 with 32 channels.

    Attributes:
        embed_dim: size of the embedding.
        num_blocks: residual blocks in each of the four stages; (2, 2, 2, 2) is ResNet18.
        m_channels: channels of the first stage; each later stage has twice as many.
        stem_time_stride: time stride of the first convolution; 2 halves the cost of all that follows.
        pooling: name of the pooling.
        two_emb_layer: whether ReLU, batch normalisation and a second linear layer follow the first.
        norm_head: batch normalisation of the pooled statistics and of the embedding, as ECAPA-TDNN has
            after its pooling: statistics of several scales then train at one learning rate.
    """

    embed_dim: int = 192
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    m_channels: int = 32
    stem_time_stride: int = 1
    pooling: str = "tstp"
    two_emb_layer: bool = False
    norm_head: bool = False

    def __post_init__(self) -> None:
        if len(self.num_blocks) != len(STRIDES) or min(self.num_blocks) < 1:
            raise ValueError("num_blocks: must be four positive numbers")
        for name in ("m_channels", "embed_dim", "stem_time_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class ResNet(nn.Module):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.min_frames = 8 * config.stem_time_stride + 1  # two after the strides, for a deviation
        channels = config.m_channels
        self.conv1 = nn.Conv2d(1, channels, 3, (1, config.stem_time_stride), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        widths = [channels * 2**stage for stage in range(4)]
        self.layer1 = _stage(channels, widths[0], config.num_blocks[0], STRIDES[0])
        self.layer2 = _stage(widths[0], widths[1], config.num_blocks[1], STRIDES[1])
        self.layer3 = _stage(widths[1], widths[2], config.num_blocks[2], STRIDES[2])
        self.layer4 = _stage(widths[2], widths[3], config.num_blocks[3], STRIDES[3])
        rows = -(-feat_dim // 8)  # three strides of 2, each rounding up
        self.pool, pooled_dim = layers.build_pooling(config.pooling, widths[3] * rows)
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
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = layers.zero(feats.transpose(1, 2).unsqueeze(1), padding)  # [B, 1, F, T]
        x = torch.relu_(self.bn1(self.conv1(x)))
        padding = layers.stride_padding(padding, self.conv1.stride[1])
        x = x.contiguous(memory_format=torch.channels_last)  # up to a third faster on the CPU
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x, padding = block(x, padding)
        embedding: Tensor = self.seg_1(self.pool_bn(layers.pool(self.pool, x.flatten(1, 2), padding)))
        if self.two_emb_layer:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        result: Tensor = self.embed_bn(embedding)
        return result


def _stage(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.ModuleList:
    first = layers.ResidualBlock2d(in_channels, channels, (stride, stride))
    rest = (layers.ResidualBlock2d(channels, channels, (1, 1)) for _ in range(num_blocks - 1))
    return nn.ModuleList([first, *rest])
