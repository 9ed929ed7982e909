"""Blocks of the Res2Net family: clipped ReLU, attentional fusion, the split-convolution block, the trunk.

``x, padding = Res2NetBlock(32, 64, 2, config)(x, padding)``: [B, 32, F, T] to [B, 128, F / 2, T / 2].
Gao et al., "Res2Net: a new multi-scale backbone architecture", 2019; Chen et al., "An enhanced Res2Net with
local and global feature fusion for speaker verification", 2023. Parameters are named as in the checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speakerlab.nn import layers

STRIDES = (1, 2, 2, 2)  # of the four stages, in frequency and time
REDUCTION = 4  # of the channels inside an attentional fusion


@dataclass(frozen=True)
class Res2NetSizes:
    """Settings that all networks of the family have.

    Attributes:
        embed_dim: size of the embedding.
        num_blocks: blocks in each of the four stages.
        m_channels: channels of the stem, and planes of the first stage; each later stage has twice as many.
        base_width: channels of one part of a block's split, per 64 planes, rounded down.
        scale: parts of the split.
        expansion: output channels of a block per plane.
        pooling: name of the pooling.
    """

    embed_dim: int = 192
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    m_channels: int = 32
    base_width: int = 32
    scale: int = 2
    expansion: int = 2
    pooling: str = "tstp"

    def __post_init__(self) -> None:
        if len(self.num_blocks) != len(STRIDES) or min(self.num_blocks) < 1:
            raise ValueError("num_blocks: must be four positive numbers")
        for name in ("embed_dim", "m_channels", "expansion"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.scale < 2:
            raise ValueError("scale: must be at least 2, the parts of a split")
        if self.part_width(self.m_channels) < 1:
            raise ValueError("base_width: must be at least 64 / m_channels, one channel for each part")

    def part_width(self, planes: int) -> int:
        """Channels of one part of the split in a block of ``planes`` planes."""
        return planes * self.base_width // 64


def clipped_relu(x: Tensor) -> Tensor:
    """``x`` limited to 0..20, in place."""
    return functional.hardtanh_(x, 0.0, 20.0)


class AttentionalFusion(nn.Module):
    """a x + (2 - a) y, where a = 1 + tanh(two 1x1 convolutions over x and y) (Chen et al. 2023).

    Args:
        channels: C of both inputs [B, C, F, T].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two [B, C, F, T] to one, frame by frame: at padded frames finite, not zero."""
        balance = torch.tanh(self.local_att(torch.cat([x, y], dim=1)))
        return torch.addcmul(x + y, balance, x - y)  # the equation above, rearranged


class Res2NetBlock(nn.Module):
    """Bottleneck whose channels are split: each part goes, with the result of the last, through a 3x3.

    Args:
        in_channels: C of the input.
        planes: the block's size; it puts out ``planes * sizes.expansion`` channels.
        stride: stride in frequency and time.
        sizes: width and number of the parts, expansion.
        num_convs: parts that are convolved; the others pass unchanged.
        fuse: whether a part and the result of the last are fused by attention, not added.
    """

    def __init__(
        self, in_channels: int, planes: int, stride: int, sizes: Res2NetSizes, *, num_convs: int, fuse: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.width = sizes.part_width(planes)
        channels, out_channels = self.width * sizes.scale, planes * sizes.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, padding=1, bias=False) for _ in range(num_convs)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(num_convs))
        self.fuse_models = nn.ModuleList(AttentionalFusion(self.width) for _ in range(num_convs - 1) if fuse)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = layers.Shortcut2d(in_channels, out_channels, (stride, stride))

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        # Sliced, not strided: torch 2.13 crashes in the gradient of a strided 1x1 with channels last.
        sliced = x[:, :, :: self.stride, :: self.stride]
        padding = layers.stride_padding(padding, self.stride)
        parts = list(torch.split(clipped_relu(self.bn1(self.conv1(sliced))), self.width, dim=1))
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            part = parts[i] if i == 0 else self._join(i - 1, parts[i - 1], parts[i])
            parts[i] = clipped_relu(bn(conv(layers.zero(part, padding))))
        y = self.bn3(self.conv3(torch.cat(parts, dim=1)))
        return clipped_relu(y.add_(self.shortcut(x))), padding

    def _join(self, index: int, previous: Tensor, part: Tensor) -> Tensor:
        joined: Tensor = self.fuse_models[index](previous, part) if self.fuse_models else previous + part
        return joined


class Res2NetStage(nn.ModuleList):
    """Blocks of one size, of which the first has the stride.

    Args:
        sizes: those of the network.
        index: of the stage, from 0.
        enhanced: as in ``Res2NetTrunk``.
    """

    def __init__(self, sizes: Res2NetSizes, index: int, *, enhanced: bool) -> None:
        super().__init__()
        planes = sizes.m_channels * 2**index
        out_channels = planes * sizes.expansion
        channels = out_channels // 2 if index else sizes.m_channels
        num_convs = sizes.scale if enhanced else sizes.scale - 1
        for stride in (STRIDES[index], *[1] * (sizes.num_blocks[index] - 1)):
            fuse = enhanced and index >= 2
            self.append(Res2NetBlock(channels, planes, stride, sizes, num_convs=num_convs, fuse=fuse))
            channels = out_channels

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        for block in self:
            x, padding = block(x, padding)
        return x, padding


class Res2NetTrunk(nn.Module):
    """What the networks of the family share: the stem, four stages, the pooling, the embedding layer.

    Args:
        sizes: sizes and pooling.
        feat_dim: F of the features.
        enhanced: whether a block convolves all parts of its split, and the last two stages fuse them by
            attention (ERes2Net); otherwise the last part passes unchanged and sums join parts (Res2Net).
    """

    min_frames = 9  # two after the strides, for a standard deviation

    def __init__(self, sizes: Res2NetSizes, feat_dim: int, *, enhanced: bool) -> None:
        super().__init__()
        self.embed_dim = sizes.embed_dim
        self.conv1 = nn.Conv2d(1, sizes.m_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(sizes.m_channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            Res2NetStage(sizes, index, enhanced=enhanced) for index in range(4)
        )
        channels = 8 * sizes.m_channels * sizes.expansion
        rows = -(-feat_dim // 8)  # three strides of 2, each rounding up
        self.pool, pooled_dim = layers.build_pooling(sizes.pooling, channels * rows)
        self.seg_1 = nn.Linear(pooled_dim, sizes.embed_dim)

    def stem(self, feats: Tensor, padding: Tensor | None) -> Tensor:
        """Features [B, T, F] to [B, C, F, T] in front of the first stage."""
        x = layers.zero(feats.transpose(1, 2).unsqueeze(1), padding)  # [B, 1, F, T]
        return torch.relu_(self.bn1(self.conv1(x)))

    def embed(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C, F', T'] behind the last stage to embeddings [B, E]."""
        embedding: Tensor = self.seg_1(layers.pool(self.pool, x.flatten(1, 2), padding))
        return embedding
