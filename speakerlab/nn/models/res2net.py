"""Res2Net: a ResNet whose blocks split their channels, so that one block sees several scales.

``Res2Net(Res2NetConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Gao et al., "Res2Net: a
new multi-scale backbone architecture", 2019; narrow, as in 3D-Speaker, whose names and shapes of parameters
it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from speakerlab.nn import layers
from speakerlab.nn.res2net_blocks import Res2NetSizes, Res2NetTrunk
from speakerlab.registry import register


@dataclass(frozen=True)
class Res2NetConfig(Res2NetSizes):
    """Settings of ``res2net``: those of ``Res2NetSizes``; the defaults are the published ones."""


@register("model")
class Res2Net(Res2NetTrunk):
    """Speaker embeddings from the features seen as an image of F rows and T columns.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = Res2NetConfig
    PAPER: ClassVar[str] = "arXiv 1904.01169"
    VARIANTS: ClassVar[dict[str, Res2NetConfig]] = {"base": Res2NetConfig()}

    def __init__(self, config: Res2NetConfig, feat_dim: int) -> None:
        super().__init__(config, feat_dim, enhanced=False)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = self.stem(feats, padding)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x, padding = stage(x, padding)
        return self.embed(x, padding)
