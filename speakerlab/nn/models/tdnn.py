"""TDNN (x-vector): dilated convolutions over time, a pooling, one embedding layer.

``Tdnn(TdnnConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192].
Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", ICASSP 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from speakerlab.nn import layers
from speakerlab.registry import register


@dataclass(frozen=True)
class TdnnConfig:
    """Settings of ``tdnn``; one entry of ``channels``, ``kernel_sizes``, ``dilations`` per layer.

    Attributes:
        embed_dim: size of the embedding.
        channels: output channels of each layer.
        kernel_sizes: odd number of taps of each layer.
        dilations: frames from tap to tap in each layer.
        pooling: name of the pooling.
        embed_norm: whether batch normalisation without scale and shift ends the network.
    """

    embed_dim: int = 192
    channels: tuple[int, ...] = (512, 512, 512, 512, 1500)
    kernel_sizes: tuple[int, ...] = (5, 3, 3, 1, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 1, 1)
    pooling: str = "tstp"
    embed_norm: bool = True

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernel_sizes) == len(self.dilations) > 0:
            raise ValueError("channels: must be as many as kernel_sizes and dilations, at least one")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError("kernel_sizes: must be odd, so that the number of frames stays")
        for name in ("channels", "kernel_sizes", "dilations"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.embed_dim < 1:
            raise ValueError("embed_dim: must be at least 1")


@register("model")
class Tdnn(nn.Module):
    """Speaker embeddings from features by convolutions over time, each padded to keep T.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = TdnnConfig
    PAPER: ClassVar[str] = "ICASSP 2018, Snyder et al."
    VARIANTS: ClassVar[dict[str, TdnnConfig]] = {"base": TdnnConfig()}
    min_frames = 2  # for a standard deviation

    def __init__(self, config: TdnnConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.frame = nn.ModuleList()
        in_channels = feat_dim
        for channels, size, dilation in zip(
            config.channels, config.kernel_sizes, config.dilations, strict=True
        ):
            self.frame.append(_frame_layer(in_channels, channels, size, dilation))
            in_channels = channels
        self.pooling, pooled_dim = layers.build_pooling(config.pooling, in_channels)
        self.embedding = nn.Linear(pooled_dim, config.embed_dim)
        self.norm = nn.BatchNorm1d(config.embed_dim, affine=False) if config.embed_norm else nn.Identity()

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = feats.transpose(1, 2)  # [B, F, T]
        for layer in self.frame:
            x = layer(layers.zero(x, padding))
        embedding: Tensor = self.norm(self.embedding(layers.pool(self.pooling, x, padding)))
        return embedding


def _frame_layer(in_channels: int, channels: int, size: int, dilation: int) -> nn.Sequential:
    """Convolution, ReLU, batch normalisation: [B, C, T] to [B, C', T]."""
    padding = dilation * (size - 1) // 2
    convolution = nn.Conv1d(in_channels, channels, size, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, nn.ReLU(inplace=True), nn.BatchNorm1d(channels))
