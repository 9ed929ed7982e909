"""ReDimNet: 2-D and 1-D blocks in turn, whose maps are all one sequence [B, C * F, T] seen in two ways.

``ReDimNet(ReDimNetConfig(), feat_dim=60)(feats, lengths)``: [B, T, 60] to [B, 192]. Yakovlev et al., "Reshape
dimensions network for speaker recognition", Interspeech 2024. Parameters have the names and shapes of the
published checkpoints; their front end (``spec.*``) is not part of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from speakerlab.nn import redimnet_blocks as blocks
from speakerlab.registry import register


@dataclass(frozen=True)
class ReDimNetConfig:
    """Settings of ``redimnet``; the defaults are B0, which is published for 60 features, the others for 72.

    Attributes:
        embed_dim: size of the embedding.
        channels: C of the first map.
        strides: of each stage in frequency; the channels grow by as much.
        num_blocks: 2-D blocks of each stage.
        expansions: channels of each stage's 2-D blocks, in channels of its map.
        reductions: channels and rows of a map over the width of each stage's time context; 0 for none.
        block: the 2-D blocks: ConvNeXt's, ResNet's, or those with a squeeze and excitation of the rows.
        group_width: channels of a group of the 3x3 convolutions.
    """

    embed_dim: int = 192
    channels: int = 10
    strides: tuple[int, ...] = (1, 2, 1, 2, 1)
    num_blocks: tuple[int, ...] = (2, 3, 3, 4, 3)
    expansions: tuple[int, ...] = (1, 2, 3, 2, 1)
    reductions: tuple[int, ...] = (30, 30, 30, 10, 10)
    block: Literal["convnext", "resnet", "resnet_se"] = "resnet"
    group_width: int = 1

    def __post_init__(self) -> None:
        blocks.check_stages(
            self.num_blocks,
            strides=self.strides,
            expansions=self.expansions,
            reductions=self.reductions,
        )
        for name in ("embed_dim", "channels", "group_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.block not in ("convnext", "resnet", "resnet_se"):
            raise ValueError("block: must be convnext, resnet or resnet_se")


_BY_8 = (1, 2, 1, 2, 1, 2)
_BY_12 = (1, 2, 1, 3, 1, 2)


@register("model")
class ReDimNet(blocks.ReshapeNetwork):
    """Speaker embeddings from features.

    Args:
        config: sizes.
        feat_dim: F of the features, a multiple of the product of the strides.

    Raises:
        ValueError: ``feat_dim`` is not.
    """

    Config = ReDimNetConfig
    PAPER: ClassVar[str] = "arXiv 2407.18223"
    # embed_dim, channels, strides, num_blocks, expansions, reductions, block, group_width
    VARIANTS: ClassVar[dict[str, ReDimNetConfig]] = {
        "b0": ReDimNetConfig(),
        "b1": ReDimNetConfig(
            192, 12, (1, 2, 3, 2, 2), (2, 3, 4, 5, 3), (1, 1, 1, 1, 1), (0, 0, 12, 12, 8), "convnext", 8
        ),
        "b2": ReDimNetConfig(
            192, 16, _BY_12, (2, 2, 3, 4, 4, 4), (1, 1, 1, 1, 1, 1), (12, 12, 12, 8, 8, 4), "convnext", 4
        ),
        "b3": ReDimNetConfig(
            192, 16, _BY_8, (6, 6, 8, 10, 10, 8), (4, 2, 2, 2, 1, 1), (32, 32, 32, 16, 16, 16), "resnet_se", 1
        ),
        "b4": ReDimNetConfig(
            192, 32, _BY_8, (4, 4, 6, 6, 8, 4), (2, 2, 2, 1, 1, 1), (48, 48, 48, 32, 24, 16), "resnet_se", 1
        ),
        "b5": ReDimNetConfig(
            192, 32, _BY_8, (4, 4, 6, 6, 8, 4), (2, 2, 2, 1, 1, 1), (48, 48, 48, 32, 24, 16), "resnet_se", 16
        ),
        "b6": ReDimNetConfig(
            192, 32, _BY_12, (4, 6, 6, 8, 8, 8), (4, 2, 2, 1, 1, 1), (32, 32, 24, 24, 16, 16), "resnet", 32
        ),
    }
    FEAT_DIMS: ClassVar[dict[str, int]] = {
        "b0": 60,
        **dict.fromkeys(("b1", "b2", "b3", "b4", "b5", "b6"), 72),
    }

    def __init__(self, config: ReDimNetConfig, feat_dim: int) -> None:
        blocks.check_feat_dim(feat_dim, math.prod(config.strides))
        stages = _build_stages(config, feat_dim)
        backbone = blocks.Backbone(config.channels, feat_dim, stages)
        super().__init__(backbone, config.channels * feat_dim, config.embed_dim)


def _build_stages(config: ReDimNetConfig, feat_dim: int) -> list[blocks.Stage]:
    dim, channels, rows = config.channels * feat_dim, config.channels, feat_dim
    stages: list[blocks.Stage] = []
    for stride, num_blocks, expansion, reduction in zip(
        config.strides, config.num_blocks, config.expansions, config.reductions, strict=True
    ):
        fusion = blocks.Fusion(len(stages) + 1, dim if stages else 1)
        width = stride * channels * expansion
        conv = nn.Conv2d(channels, width, (stride, 1), (stride, 1))
        rows_before, channels, rows = rows, stride * channels, rows // stride
        steps: list[nn.Module] = [
            blocks.Block2d(config.block, width, rows, config.group_width) for _ in range(num_blocks)
        ]
        if expansion > 1:
            steps.append(_squeeze(width, channels, config.group_width))
        steps.append(blocks.Flatten())
        if reduction:
            steps.append(blocks.TimeContext(dim, reduction))
        stages.append(blocks.Stage(rows_before, fusion, conv, steps))
    return stages


def _squeeze(width: int, channels: int, group_width: int) -> blocks.Chain:
    """From the channels of a stage's blocks to those of its map."""
    groups = blocks.num_groups(channels, group_width)
    return blocks.Chain(
        [
            nn.Conv2d(width, channels, 3, padding=1, groups=groups),
            nn.BatchNorm2d(channels, eps=blocks.NORM_EPS),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
        ]
    )
