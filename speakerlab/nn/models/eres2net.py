"""ERes2Net: Res2Net with attention that fuses the parts of a block and the maps of the four stages.

``ERes2Net(ERes2NetConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Chen et al., "An enhanced
Res2Net with local and global feature fusion for speaker verification", Interspeech 2023. Parameters have the
names and shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.nn.res2net_blocks import AttentionalFusion, Res2NetSizes, Res2NetTrunk
from speakerlab.registry import register


@dataclass(frozen=True)
class ERes2NetConfig(Res2NetSizes):
    """Settings of ``eres2net``: those of ``Res2NetSizes`` and one more.

    Attributes:
        two_emb_layer: whether ReLU, batch normalisation and a second linear layer follow the first.
    """

    two_emb_layer: bool = False


@register("model")
class ERes2Net(Res2NetTrunk):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Each stage's map is fused with the fused map of the stage below, brought to its size.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = ERes2NetConfig
    PAPER: ClassVar[str] = "arXiv 2305.12838"
    VARIANTS: ClassVar[dict[str, ERes2NetConfig]] = {
        "base": ERes2NetConfig(),
        "large": ERes2NetConfig(m_channels=64),
        "huge": ERes2NetConfig(m_channels=64, base_width=24, scale=3, expansion=4),
    }

    def __init__(self, config: ERes2NetConfig, feat_dim: int) -> None:
        super().__init__(config, feat_dim, enhanced=True)
        channels = config.m_channels * config.expansion  # of the first stage's map
        self.layer1_downsample = _downsample(channels)
        self.layer2_downsample = _downsample(2 * channels)
        self.layer3_downsample = _downsample(4 * channels)
        self.fuse_mode12 = AttentionalFusion(2 * channels)
        self.fuse_mode123 = AttentionalFusion(4 * channels)
        self.fuse_mode1234 = AttentionalFusion(8 * channels)
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
        x, padding = self.layer1(self.stem(feats, padding), padding)
        fused = x
        for stage, downsample, fuse in (
            (self.layer2, self.layer1_downsample, self.fuse_mode12),
            (self.layer3, self.layer2_downsample, self.fuse_mode123),
            (self.layer4, self.layer3_downsample, self.fuse_mode1234),
        ):
            below = downsample(layers.zero(fused, padding))
            x, padding = stage(x, padding)
            fused = fuse(x, below)
        embedding = self.embed(fused, padding)
        if self.two_emb_layer:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        return embedding


def _downsample(channels: int) -> nn.Conv2d:
    """[B, C, F, T] to [B, 2C, F / 2, T / 2], rounded up, as the strided block of a stage rounds."""
    return nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
