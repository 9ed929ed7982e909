"""TDNN as in mvector: convolutions over time without padding, so that T shrinks by 14, then a pooling.

``MvectorTdnn(MvectorTdnnConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Snyder et al.,
"X-vectors: robust DNN embeddings for speaker recognition", 2018, with attentive statistics (Okabe et al.,
2018). Parameters have mvector's names and shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register

KERNELS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))  # taps and dilation of each layer
SHRINKAGE = sum((taps - 1) * dilation for taps, dilation in KERNELS)  # frames lost


@dataclass(frozen=True)
class MvectorTdnnConfig:
    """Settings of ``mvector_tdnn``; the defaults are those of the published models.

    Attributes:
        embed_dim: size of the embedding.
        channels: channels of every layer.
        pooling: name of the pooling.
    """

    embed_dim: int = 192
    channels: int = 512
    pooling: str = "asp"

    def __post_init__(self) -> None:
        if self.embed_dim < 1 or self.channels < 1:
            raise ValueError("embed_dim, channels: must be at least 1")


@register("model")
class MvectorTdnn(nn.Module):
    """Speaker embeddings from features by five convolutions over time.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = MvectorTdnnConfig
    PAPER: ClassVar[str] = "ICASSP 2018, Snyder et al."
    VARIANTS: ClassVar[dict[str, MvectorTdnnConfig]] = {"base": MvectorTdnnConfig()}
    min_frames = SHRINKAGE + 2  # two are left, as a deviation over time needs

    def __init__(self, config: MvectorTdnnConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        in_channels = feat_dim
        for number, (taps, dilation) in enumerate(KERNELS, 1):
            convolution = nn.Conv1d(in_channels, config.channels, taps, dilation=dilation)
            self.add_module(f"td_layer{number}", convolution)
            if number < len(KERNELS):  # the pooled statistics of the last are normalised instead
                self.add_module(f"bn{number}", nn.BatchNorm1d(config.channels))
            in_channels = config.channels
        self.pooling, pooled_dim = layers.build_pooling(config.pooling, config.channels)
        self.bn5 = nn.BatchNorm1d(pooled_dim)
        self.linear = nn.Linear(pooled_dim, config.embed_dim)
        self.bn6 = nn.BatchNorm1d(config.embed_dim)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = layers.zero(feats.transpose(1, 2), padding)  # [B, F, T]
        for number in range(1, len(KERNELS) + 1):
            x = torch.relu_(self.get_submodule(f"td_layer{number}")(x))
            if number < len(KERNELS):
                x = self.get_submodule(f"bn{number}")(x)
        # Output frame t rests on the input frames t to t + 14: it is valid where the last of them is.
        padding = None if padding is None else padding[..., SHRINKAGE:]
        embedding: Tensor = self.bn6(self.linear(self.bn5(layers.pool(self.pooling, x, padding))))
        return embedding
