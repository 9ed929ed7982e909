"""ERes2NetV2: ERes2Net with more channels and only its last two stages fused, for short utterances.

``ERes2NetV2(ERes2NetV2Config(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Chen et al.,
"ERes2NetV2: boosting short-duration speaker verification performance with computational efficiency",
Interspeech 2024. Parameters have the names and shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.nn.res2net_blocks import AttentionalFusion, Res2NetSizes, Res2NetTrunk
from speakerlab.registry import register


@dataclass(frozen=True)
class ERes2NetV2Config(Res2NetSizes):
    """Settings of ``eres2netv2``: those of ``Res2NetSizes``, with its own defaults (w26s2ep2)."""

    m_channels: int = 64
    base_width: int = 26


@register("model")
class ERes2NetV2(Res2NetTrunk):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = ERes2NetV2Config
    PAPER: ClassVar[str] = "arXiv 2406.02167"
    VARIANTS: ClassVar[dict[str, ERes2NetV2Config]] = {
        "w26s2ep2": ERes2NetV2Config(),
        "w24s4ep4": ERes2NetV2Config(base_width=24, scale=4, expansion=4),
    }

    def __init__(self, config: ERes2NetV2Config, feat_dim: int) -> None:
        super().__init__(config, feat_dim, enhanced=True)
        channels = 8 * config.m_channels * config.expansion  # of the last stage's map
        self.layer3_ds = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False)
        self.fuse34 = AttentionalFusion(channels)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = self.stem(feats, padding)
        for stage in (self.layer1, self.layer2, self.layer3):
            x, padding = stage(x, padding)
        below = self.layer3_ds(layers.zero(x, padding))
        x, padding = self.layer4(x, padding)
        return self.embed(self.fuse34(x, below), padding)
