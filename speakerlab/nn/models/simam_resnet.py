"""SimAM-ResNet: a wide ResNet whose blocks weigh every value by how it stands out from its channel.

``SimAMResNet(SimAMResNetConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 256]. Qin et al., "Simple
attention module based speaker verification with iterative noisy label detection", 2022, after Yang et al.,
"SimAM", ICML 2021. Parameters have the names and shapes of WeSpeaker's SimAM_ResNet34_ASP and 100_ASP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab.nn import layers, resnet_blocks
from speakerlab.nn.attentive_statistics import softmax_over_frames, statistics
from speakerlab.registry import register

LAMBDA = 1e-4  # regularises the variance in equation 5 of SimAM
MIN_VARIANCE = 1e-5  # floor of the pooled variance, that of the published checkpoints


@dataclass(frozen=True)
class SimAMResNetConfig:
    """Settings of ``simam_resnet``; the defaults are SimAM-ResNet34 with 64 channels.

    Attributes:
        embed_dim: size of the embedding.
        num_blocks: residual blocks in each of the four stages; (6, 16, 24, 3) is SimAM-ResNet100.
        m_channels: channels of the first stage; each later stage has twice as many.
        bottleneck: width of the attention of the pooling.
    """

    embed_dim: int = 256
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    m_channels: int = 64
    bottleneck: int = 128

    def __post_init__(self) -> None:
        resnet_blocks.check_num_blocks(self.num_blocks)
        for name in ("embed_dim", "m_channels", "bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class SimAMResNet(nn.Module):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes.
        feat_dim: F of the features.
    """

    Config = SimAMResNetConfig
    PAPER: ClassVar[str] = "arXiv 2110.06534"
    VARIANTS: ClassVar[dict[str, SimAMResNetConfig]] = {
        "simam34": SimAMResNetConfig(),
        "simam100": SimAMResNetConfig(num_blocks=(6, 16, 24, 3)),
    }

    def __init__(self, config: SimAMResNetConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.front = resnet_blocks.ResidualStages(_Block, config.m_channels, 1, config.num_blocks)
        self.min_frames = self.front.min_frames
        pooled_dim = self.front.top_dim(feat_dim)
        self.pooling = _Pooling(pooled_dim, config.bottleneck)
        self.bottleneck = nn.Linear(2 * pooled_dim, config.embed_dim)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        x, padding = self.front.encode(feats, layers.find_padding(feats, lengths, self.min_frames))
        embedding: Tensor = self.bottleneck(self.pooling(x, padding))
        return embedding


class _Block(nn.Module):
    """Two 3x3 convolutions, the attention, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = layers.Shortcut2d(in_channels, out_channels, stride)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        x = layers.zero(x, padding)
        padding = layers.stride_padding(padding, self.conv1.stride[1])
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = _attend(self.bn2(self.conv2(layers.zero(y, padding))), padding)
        return torch.relu_(y.add_(self.downsample(x))), padding


def _attend(x: Tensor, padding: Tensor | None) -> Tensor:
    """``x`` [B, C, F, T] times sigmoid of 1 / e*, the inverse of the least energy of each value.

    1 / e* = (x - mean)^2 / (4 (variance + lambda)) + 1/2, with the moments of the channel over the rows and
    valid frames: equation 5 of SimAM.
    """
    mean, count = layers.spatial_mean(x, padding)
    squared = (x - mean).square()
    variance = layers.spatial_mean(squared, padding)[0] * (count / (count - 1).clamp(min=1))
    weights = torch.sigmoid(squared / (4 * (variance + LAMBDA)) + 0.5)
    return x * weights.to(x.dtype)


class _Pooling(nn.Module):
    """Mean and deviation under an attention of each channel over time: [B, C, T] to [B, 2C].

    Okabe et al., "Attentive statistics pooling", 2018; with ReLU and batch normalisation for the tanh.
    """

    def __init__(self, in_dim: int, bottleneck: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(in_dim, bottleneck, 1),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(bottleneck),
            nn.Conv1d(bottleneck, in_dim, 1),
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        x = layers.zero(x, padding)
        return statistics(x, softmax_over_frames(self.attention(x), padding), MIN_VARIANCE)
