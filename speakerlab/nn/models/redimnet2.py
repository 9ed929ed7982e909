"""ReDimNet2: a ReDimNet whose stages also stride over time, and repeat frames to come back to the map.

``ReDimNet2(ReDimNet2Config(), feat_dim=72)(feats, lengths)``: [B, T, 72] to [B, 192]. Yakovlev and
Okhotnikov, "ReDimNet2: scaling speaker verification via time-pooled dimension reshaping", arXiv 2603.11841.
Parameters have the names and shapes of the published checkpoints; their front end (``spec.*``) is not part
of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.nn import redimnet_blocks as blocks
from speakerlab.registry import register

EPS = 1e-5  # of the normalisation of maps


@dataclass(frozen=True)
class ReDimNet2Config:
    """Settings of ``redimnet2``; the defaults are B0. All sizes are published for 72 features.

    Attributes:
        embed_dim: size of the embedding.
        channels: C of the first map.
        strides: of each stage in frequency; the channels grow by as much.
        time_strides: of each stage in time, on top of those of the stages before.
        num_blocks: 2-D blocks of each stage.
        expansions: channels of each stage's 2-D blocks, in channels of its map.
        reductions: channels and rows of a map over the width of each stage's time context.
        head_channels: channels to which those of the last map are brought; 0 leaves them.
        image_head: whether the head sees the last map as an image, as in all sizes of the authors, or as a
            sequence, as in WeSpeaker's B0 to B5.
        map_norm: whether all maps are normalised over the rows and time, by channel.
    """

    embed_dim: int = 192
    channels: int = 12
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2)
    time_strides: tuple[int, ...] = (1, 1, 2, 1, 2, 1)
    num_blocks: tuple[int, ...] = (2, 3, 4, 5, 4, 3)
    expansions: tuple[float, ...] = (2, 1, 1, 1, 1, 1)
    reductions: tuple[int, ...] = (36, 36, 36, 36, 18, 18)
    head_channels: int = 64
    image_head: bool = True
    map_norm: bool = False

    def __post_init__(self) -> None:
        blocks.check_stages(
            self.num_blocks,
            strides=self.strides,
            time_strides=self.time_strides,
            expansions=self.expansions,
            reductions=self.reductions,
        )
        for name in ("embed_dim", "channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if min(self.reductions) < 1:
            raise ValueError("reductions: must be positive")
        if self.head_channels < 0:
            raise ValueError("head_channels: must be 0 or more")


_B2 = ReDimNet2Config(
    channels=20, strides=(1, 2, 1, 3, 1, 2), reductions=(40, 30, 30, 20, 20, 10), head_channels=0
)
_B3 = ReDimNet2Config(
    channels=24, expansions=(4, 3, 2, 1, 1, 1), reductions=(24, 24, 24, 24, 24, 24), head_channels=0
)
_B6 = ReDimNet2Config(
    channels=64,
    num_blocks=(3, 4, 5, 5, 4, 3),
    expansions=(3, 2, 2, 1, 0.75, 0.5),
    reductions=(64, 64, 48, 48, 32, 24),
    head_channels=224,
)


@register("model")
class ReDimNet2(blocks.ReshapeNetwork):
    """Speaker embeddings from features; frames beyond a multiple of all time strides are left out.

    Args:
        config: sizes.
        feat_dim: F of the features, a multiple of the product of the strides in frequency.

    Raises:
        ValueError: ``feat_dim`` is not.
    """

    Config = ReDimNet2Config
    PAPER: ClassVar[str] = "arXiv 2603.11841"
    VARIANTS: ClassVar[dict[str, ReDimNet2Config]] = {
        "b0": ReDimNet2Config(),
        "b1": ReDimNet2Config(channels=16, reductions=(32, 32, 32, 32, 16, 16), head_channels=0),
        "b2": _B2,
        "b3": _B3,
        "b4": replace(_B3, channels=32),
        "b5": replace(_B3, channels=48, reductions=(48, 48, 48, 48, 32, 32), head_channels=256),
        "b6": _B6,
        # Those trained with VoxBlink2:
        "b3_norm": replace(_B3, head_channels=224, map_norm=True),
        "b6_norm": replace(_B6, map_norm=True),
    }
    FEAT_DIMS: ClassVar[dict[str, int]] = dict.fromkeys(VARIANTS, 72)

    def __init__(self, config: ReDimNet2Config, feat_dim: int) -> None:
        blocks.check_feat_dim(feat_dim, math.prod(config.strides))
        backbone = _Backbone(config, feat_dim)
        super().__init__(backbone, backbone.out_dim, config.embed_dim)
        self.time_stride = math.prod(config.time_strides)
        self.min_frames = max(blocks.ReshapeNetwork.min_frames, self.time_stride)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        layers.find_padding(feats, lengths, self.min_frames)  # raises before the lengths are rounded
        if lengths is not None:
            lengths = lengths // self.time_stride * self.time_stride
        return super().forward(feats[:, : feats.shape[1] // self.time_stride * self.time_stride], lengths)


class _Backbone(blocks.Backbone):
    """The maps, their fusion and the head."""

    def __init__(self, config: ReDimNet2Config, feat_dim: int) -> None:
        super().__init__(config.channels, feat_dim, _build_stages(config, feat_dim))
        self.stem_gnorm = MapNorm(config.channels, feat_dim) if config.map_norm else None
        self.rows = feat_dim // math.prod(config.strides) if config.image_head else 1
        channels = config.channels * feat_dim // self.rows
        self.out_dim = (config.head_channels or channels) * self.rows
        self.image_head = config.image_head
        self.head: nn.Module = nn.Identity()
        if config.head_channels:
            conv = nn.Conv2d if config.image_head else nn.Conv1d
            self.head = conv(channels, config.head_channels, 1)

    def first_map(self, x: Tensor, padding: Tensor | None) -> Tensor:
        x = super().first_map(x, padding)
        return x if self.stem_gnorm is None else self.stem_gnorm(x, padding)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Features [B, 1, F, T] and their padding to [B, out_dim, T]."""
        x = super().forward(x, padding)
        if self.image_head:
            x = blocks.to_image(x, self.rows)
        y: Tensor = self.head(x)
        return y.flatten(1, -2)


class MapNorm(nn.Module):
    """Group normalisation of a map: of ``channels`` groups of ``rows`` over their rows and valid frames."""

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(torch.ones(channels * rows))
        self.bias = nn.Parameter(torch.zeros(channels * rows))

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C * F, T] to the same."""
        if padding is None:
            return F.group_norm(x, self.channels, self.weight, self.bias, EPS)
        groups = x.reshape(x.shape[0], self.channels, -1, x.shape[-1])  # [B, C, F, T]
        centred = groups - layers.spatial_mean(groups, padding)[0]
        variance = layers.spatial_mean(centred.square(), padding)[0]
        normed = (centred * (variance + EPS).rsqrt()).flatten(1, 2).to(x.dtype)
        return normed * self.weight[:, None] + self.bias[:, None]


def _build_stages(config: ReDimNet2Config, feat_dim: int) -> list[blocks.Stage]:
    dim, channels, rows, time_stride = config.channels * feat_dim, config.channels, feat_dim, 1
    stages: list[blocks.Stage] = []
    for i, num_blocks in enumerate(config.num_blocks):
        stride, expansion = config.strides[i], config.expansions[i]
        time_stride *= config.time_strides[i]
        kernel = (stride, time_stride)
        width = int(stride * channels * expansion)
        conv = nn.Conv2d(channels, width, kernel, kernel, groups=math.gcd(channels, width))
        rows_before, channels, rows = rows, stride * channels, rows // stride
        steps: list[nn.Module] = [blocks.Block2d("resnet", width, rows, 1) for _ in range(num_blocks)]
        if expansion != 1:
            norm = nn.BatchNorm2d(channels, eps=blocks.NORM_EPS)
            steps.append(blocks.Chain([nn.Conv2d(width, channels, 1), norm]))
        steps += [blocks.Flatten(), blocks.TimeContext(dim, config.reductions[i])]
        if config.map_norm:
            # The place before is that of the repetition, which changes no mean: it can follow.
            steps += [blocks.Chain(), MapNorm(config.channels, feat_dim)]
        stages.append(blocks.Stage(rows_before, blocks.Fusion(i + 1, dim), conv, steps))
    return stages
