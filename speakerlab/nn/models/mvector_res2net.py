"""Res2Net as in mvector: a 7x7 stem of stride 3 and a maximum pooling before the four stages, 48 frames to 1.

``MvectorRes2Net(MvectorRes2NetConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Gao et al.,
"Res2Net: a new multi-scale backbone architecture", 2019, nearly as published there for images. Parameters
have mvector's names and shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from speakerlab.nn import layers
from speakerlab.registry import register

STRIDES = (1, 2, 2, 2)  # of the four stages, in frequency and time
EXPANSION = 4  # output channels of a block per plane
STEM_TAPS, STEM_STRIDE, STEM_PADDING = 7, 3, 1


@dataclass(frozen=True)
class MvectorRes2NetConfig:
    """Settings of ``mvector_res2net``; the defaults are those of the published models.

    Attributes:
        embed_dim: size of the embedding.
        num_blocks: blocks in each of the four stages.
        m_channels: channels of the stem, and planes of the first stage; each later stage has twice as many.
        base_width: channels of one part of a block's split, per 64 planes, rounded down.
        scale: parts of the split.
        pooling: name of the pooling.
    """

    embed_dim: int = 192
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    m_channels: int = 32
    base_width: int = 32
    scale: int = 2
    pooling: str = "asp"

    def __post_init__(self) -> None:
        if len(self.num_blocks) != len(STRIDES) or min(self.num_blocks) < 1:
            raise ValueError("num_blocks: must be four positive numbers")
        if self.embed_dim < 1:
            raise ValueError("embed_dim: must be at least 1")
        if self.scale < 2:
            raise ValueError("scale: must be at least 2, the parts of a split")
        if self.m_channels * self.base_width < 64:
            raise ValueError("base_width: must be at least 64 / m_channels, one channel for each part")


@register("model")
class MvectorRes2Net(nn.Module):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = MvectorRes2NetConfig
    PAPER: ClassVar[str] = "arXiv 1904.01169"
    VARIANTS: ClassVar[dict[str, MvectorRes2NetConfig]] = {"base": MvectorRes2NetConfig()}
    min_frames = 53  # two are left, as a deviation over time needs

    def __init__(self, config: MvectorRes2NetConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.conv1 = nn.Conv2d(1, config.m_channels, STEM_TAPS, STEM_STRIDE, STEM_PADDING, bias=False)
        self.bn1 = nn.BatchNorm2d(config.m_channels)
        channels = config.m_channels
        for stage, (count, stride) in enumerate(zip(config.num_blocks, STRIDES, strict=True)):
            planes = config.m_channels * 2**stage
            blocks: list[_Block] = [_FirstBlock(config, channels, planes, stride)]
            channels = planes * EXPANSION
            blocks += (_Block(config, channels, planes) for _ in range(count - 1))
            self.add_module(f"layer{stage + 1}", nn.ModuleList(blocks))
        self.pooling, pooled_dim = layers.build_pooling(config.pooling, channels * _top_rows(feat_dim))
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
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = layers.zero(feats.transpose(1, 2).unsqueeze(1), padding)  # [B, 1, F, T]
        x = torch.relu_(self.bn1(self.conv1(x)))
        if padding is not None:  # a frame is there where its taps end one zero past the last, or before
            padding = padding[..., STEM_TAPS - 2 * STEM_PADDING - 1 :: STEM_STRIDE]
        # Behind a ReLU zeros do not change a maximum, so that padded frames do not.
        x = functional.max_pool2d(layers.zero(x, padding), 3, 2, 1)
        padding = layers.stride_padding(padding, 2)
        for stage in range(1, len(STRIDES) + 1):
            for block in self.get_submodule(f"layer{stage}").children():
                x, padding = block(x, padding)
        pooled = layers.pool(self.pooling, x.flatten(1, 2), padding)
        embedding: Tensor = self.bn3(self.linear(self.bn2(pooled)))
        return embedding


def _top_rows(feat_dim: int) -> int:
    """Rows that the last stage has, of ``feat_dim`` features."""
    rows = (feat_dim + 2 * STEM_PADDING - STEM_TAPS) // STEM_STRIDE + 1
    if rows < 1:
        raise ValueError(f"feat_dim: must be at least {STEM_TAPS - 2 * STEM_PADDING}, not {feat_dim}")
    for stride in (2, *STRIDES):
        rows = -(-rows // stride)
    return rows


class _Block(nn.Module):
    """1x1 convolution, 3x3 of all parts but the last, each on top of the one before, 1x1, shortcut."""

    def __init__(self, config: MvectorRes2NetConfig, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        width = planes * config.base_width // 64
        self.conv1 = nn.Conv2d(in_channels, width * config.scale, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * config.scale)
        parts = range(config.scale - 1)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, stride, 1, bias=False) for _ in parts)
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in parts)
        self.conv3 = nn.Conv2d(width * config.scale, planes * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * EXPANSION)
        self.downsample = layers.Shortcut2d(in_channels, planes * EXPANSION, (stride, stride))

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        y = layers.zero(torch.relu_(self.bn1(self.conv1(x))), padding)
        after = layers.stride_padding(padding, self.stride)
        y = self.bn3(self.conv3(torch.cat(self.split(y, after), dim=1)))
        return torch.relu_(y.add_(self.downsample(x))), after

    def split(self, x: Tensor, padding: Tensor | None) -> list[Tensor]:
        """The parts of ``x`` [B, C, F, T], convolved; the last as it is."""
        *parts, last = x.chunk(len(self.convs) + 1, dim=1)
        done: list[Tensor] = []
        for part, convolution, norm in zip(parts, self.convs, self.bns, strict=True):
            total = layers.zero(part + done[-1], padding) if done else part
            done.append(torch.relu_(norm(convolution(total))))
        return [*done, last]


class _FirstBlock(_Block):
    """The first block of a stage: every part for itself, with a stride; the last is averaged."""

    def split(self, x: Tensor, padding: Tensor | None) -> list[Tensor]:  # noqa: ARG002  # nothing is added
        """The parts of ``x`` [B, C, F, T], convolved; the last averaged over 3x3, zeros around it counted."""
        *parts, last = x.chunk(len(self.convs) + 1, dim=1)
        layers_of_parts = zip(parts, self.convs, self.bns, strict=True)
        done = [torch.relu_(norm(convolution(part))) for part, convolution, norm in layers_of_parts]
        return [*done, functional.avg_pool2d(last, 3, self.stride, 1)]
