"""GhostVLAD: a thin ResNet-34 over a spectrogram, differences from learned centres, one linear layer.

``GhostVLAD(GhostVLADConfig(), feat_dim=257)(feats, lengths)``: [B, T, 257] to [B, 512].
Xie et al., "Utterance-level aggregation for speaker recognition in the wild", arXiv 1902.10107. Shapes are
those of the published Keras weights; ``speakerlab.hub.ghostvlad_h5`` translates their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.nn.pooling.ghostvlad import EPSILON, aggregate
from speakerlab.registry import register

BN_EPSILON = 1e-3  # the default of Keras
STEM_CHANNELS = 64
BLOCKS = ("ab", "abc", "abc", "abc")  # of the stages conv2 to conv5; the last three halve both axes


@dataclass(frozen=True)
class GhostVLADConfig:
    """Settings of the model ``ghostvlad``; the defaults are those of the published weights.

    Attributes:
        embed_dim: size of the embedding, and channels of what is aggregated.
        inner_channels: width of the 3x3 convolutions of each of the four stages.
        out_channels: channels that each stage gives.
        num_clusters: clusters that reach the embedding.
        num_ghosts: clusters that are left out; 0 is NetVLAD.
    """

    embed_dim: int = 512
    inner_channels: tuple[int, ...] = (48, 96, 128, 256)
    out_channels: tuple[int, ...] = (96, 128, 256, 512)
    num_clusters: int = 8
    num_ghosts: int = 2

    def __post_init__(self) -> None:
        for name in ("inner_channels", "out_channels"):
            if len(getattr(self, name)) != len(BLOCKS) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: must be four positive numbers")
        for name in ("embed_dim", "num_clusters"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.num_ghosts < 0:
            raise ValueError("num_ghosts: must not be negative")


@register("model")
class GhostVLAD(nn.Module):
    """Speaker embeddings of length 1 without negative components, from magnitude spectrograms.

    Args:
        config: sizes and clusters.
        feat_dim: F of the features; the published weights are for 257.

    Raises:
        ValueError: ``feat_dim`` below 2.
    """

    Config = GhostVLADConfig
    PAPER: ClassVar[str] = "arXiv 1902.10107"
    VARIANTS: ClassVar[dict[str, GhostVLADConfig]] = {
        "ghostvlad": GhostVLADConfig(),
        "netvlad": GhostVLADConfig(num_ghosts=0),
    }
    FEAT_DIMS: ClassVar[dict[str, int]] = {"ghostvlad": 257, "netvlad": 257}  # a spectrogram
    min_frames = 2  # the first max-pooling makes one of two

    def __init__(self, config: GhostVLADConfig, feat_dim: int) -> None:
        super().__init__()
        if feat_dim < 2:
            raise ValueError(f"feat_dim: must be at least 2, not {feat_dim}")
        self.embed_dim = config.embed_dim
        self.num_clusters = config.num_clusters
        self.conv1 = nn.Conv2d(1, STEM_CHANNELS, 7, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, eps=BN_EPSILON)
        self.blocks = nn.ModuleDict()
        channels = STEM_CHANNELS
        for stage, letters in enumerate(BLOCKS):
            for letter in letters:
                halve = stage > 0 and letter == "a"
                widths = (channels, config.inner_channels[stage], config.out_channels[stage])
                self.blocks[f"conv{stage + 2}_{letter}"] = _Block(*widths, 2 if halve else 1, letter == "a")
                channels = config.out_channels[stage]
        rows = -(-(feat_dim // 2) // 8)  # one halving rounds down, three round up
        self.pool_rows = min(3, rows)  # fewer than three rows are one window
        rows = (rows - self.pool_rows) // 2 + 1
        num_scores = config.num_clusters + config.num_ghosts
        self.x_fc = nn.Conv2d(channels, config.embed_dim, (rows, 1))
        self.assignment = nn.Conv2d(channels, num_scores, (rows, 1))
        # The weights hold centres of the ghosts too, which nothing reads.
        self.centers = nn.Parameter(torch.empty(num_scores, config.embed_dim))
        nn.init.orthogonal_(self.centers)
        self.fc6 = nn.Linear(config.num_clusters * config.embed_dim, config.embed_dim)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E] of length 1.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = layers.zero(feats.transpose(1, 2).unsqueeze(1), padding)  # [B, 1, F, T]
        x = F.max_pool2d(torch.relu_(self.bn1(self.conv1(x))), 2)
        # Frame j is the maximum of 2j and 2j + 1, and is valid exactly where the second is.
        padding = None if padding is None else padding[..., 1::2]
        x = x.contiguous(memory_format=torch.channels_last)  # up to a third faster on the CPU
        for block in self.blocks.values():
            x, padding = block(x, padding)
        x = F.max_pool2d(x, (self.pool_rows, 1), stride=(2, 1))
        frames, scores = torch.relu_(self.x_fc(x)).squeeze(2), self.assignment(x).squeeze(2)
        pooled = aggregate(frames, scores, self.centers[: self.num_clusters], padding)
        embedding = torch.relu(self.fc6(pooled.to(x.dtype)))
        return F.normalize(embedding.to(pooled.dtype), eps=EPSILON).to(x.dtype)


class _Block(nn.Module):
    """Bottleneck 1x1, 3x3, 1x1 whose first convolution strides: [B, C, F, T] to [B, C', F', T'].

    F' and T' are rounded up; ``projected`` is a 1x1 convolution as shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        out_channels: int,
        stride: int,
        projected: bool,  # noqa: FBT001
    ) -> None:
        super().__init__()
        self.stride, self.projected = stride, projected
        self.reduce = nn.Conv2d(in_channels, inner_channels, 1, bias=False)
        self.reduce_bn = nn.BatchNorm2d(inner_channels, eps=BN_EPSILON)
        self.conv = nn.Conv2d(inner_channels, inner_channels, 3, padding=1, bias=False)
        self.conv_bn = nn.BatchNorm2d(inner_channels, eps=BN_EPSILON)
        self.increase = nn.Conv2d(inner_channels, out_channels, 1, bias=False)
        self.increase_bn = nn.BatchNorm2d(out_channels, eps=BN_EPSILON)
        if projected:
            self.proj = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.proj_bn = nn.BatchNorm2d(out_channels, eps=BN_EPSILON)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        # Both 1x1 convolutions stride alike. Sliced, not strided: torch 2.13 crashes in the gradient of a
        # strided 1x1 with channels last.
        x = x[:, :, :: self.stride, :: self.stride]
        padding = layers.stride_padding(padding, self.stride)
        y = torch.relu_(self.reduce_bn(self.reduce(x)))
        y = torch.relu_(self.conv_bn(self.conv(layers.zero(y, padding))))
        y = self.increase_bn(self.increase(y))
        if self.projected:
            x = self.proj_bn(self.proj(x))
        return torch.relu_(y.add_(x)), padding
