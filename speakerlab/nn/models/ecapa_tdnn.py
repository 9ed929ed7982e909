"""ECAPA-TDNN: Res2Net blocks with squeeze-excitation over time, whose outputs are joined and pooled.

``EcapaTdnn(EcapaTdnnConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192]. Desplanques et al.,
"ECAPA-TDNN: emphasized channel attention, propagation and aggregation in TDNN based speaker verification",
Interspeech 2020. Parameters have the names and shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.registry import register

LOG_OFFSET = 1e-6  # added to the powers before their logarithm
NORM_EPSILON = 1e-5  # added to the variance of the instance normalisation


@dataclass(frozen=True)
class EcapaTdnnConfig:
    """Settings of ``ecapa_tdnn``; one entry of the tuples per layer: the first, the blocks, the last.

    Attributes:
        embed_dim: size of the embedding.
        channels: output channels of each layer; all but the last are equal.
        kernel_sizes: odd number of taps of each layer.
        dilations: frames from tap to tap in each layer.
        res2net_scale: groups of channels in a block.
        se_channels: width of the squeeze-excitation.
        pooling: name of the pooling.
        log_instance_norm: whether features are mel powers, of which the network takes the logarithm and
            removes mean and variance over time, as for RDINO and SDPN.
    """

    embed_dim: int = 192
    channels: tuple[int, ...] = (1024, 1024, 1024, 1024, 3072)
    kernel_sizes: tuple[int, ...] = (5, 3, 3, 3, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    res2net_scale: int = 8
    se_channels: int = 128
    pooling: str = "asp"
    log_instance_norm: bool = False

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernel_sizes) == len(self.dilations) >= 3:
            raise ValueError("channels: must be as many as kernel_sizes and dilations, at least three")
        if len(set(self.channels[:-1])) > 1:
            raise ValueError("channels: all but the last must be equal")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError("kernel_sizes: must be odd, so that the number of frames stays")
        for name in ("channels", "kernel_sizes", "dilations"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.res2net_scale < 2 or self.channels[0] % self.res2net_scale:
            raise ValueError("res2net_scale: must be at least 2 and divide the channels")
        for name in ("embed_dim", "se_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class EcapaTdnn(nn.Module):
    """Speaker embeddings from features; convolutions see each utterance's ends mirrored.

    Args:
        config: sizes and pooling.
        feat_dim: F of the features.
    """

    Config = EcapaTdnnConfig
    PAPER: ClassVar[str] = "arXiv 2005.07143"
    VARIANTS: ClassVar[dict[str, EcapaTdnnConfig]] = {
        "c1024": EcapaTdnnConfig(),
        "c512": EcapaTdnnConfig(channels=(512, 512, 512, 512, 1536)),
        "ssl": EcapaTdnnConfig(embed_dim=512, log_instance_norm=True),
    }

    def __init__(self, config: EcapaTdnnConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.log_instance_norm = config.log_instance_norm
        taps = list(zip(config.kernel_sizes, config.dilations, strict=True))
        self.min_frames = max(_reach(*tap) for tap in taps) + 1
        self.blocks = nn.ModuleList([_Tdnn(feat_dim, config.channels[0], *taps[0])])
        self.blocks.extend(_Block(config, *tap) for tap in taps[1:-1])
        self.mfa = _Tdnn(sum(config.channels[1:-1]), config.channels[-1], *taps[-1])
        # Named as in the checkpoints, whatever the pooling.
        self.asp, pooled_dim = layers.build_pooling(config.pooling, config.channels[-1])
        self.asp_bn = layers.named(norm=nn.BatchNorm1d(pooled_dim))
        self.fc = layers.named(conv=nn.Conv1d(pooled_dim, config.embed_dim, 1))

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = layers.zero(feats.transpose(1, 2), padding)
        if self.log_instance_norm:
            x = _log_instance_norm(x, padding)
        outputs = []
        for block in self.blocks:
            x = block(x, padding)
            outputs.append(x)
        x = self.mfa(torch.cat(outputs[1:], dim=1), padding)
        pooled = self.asp_bn(layers.pool(self.asp, x, padding))
        embedding: Tensor = self.fc(pooled.unsqueeze(-1)).squeeze(-1)
        return embedding


class _Tdnn(nn.Module):
    """Convolution with mirrored ends, ReLU, batch normalisation: [B, C, T] to [B, C', T]."""

    def __init__(self, in_channels: int, channels: int, size: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.reach = _reach(size, dilation)
        self.conv = layers.named(conv=nn.Conv1d(in_channels, channels, size, dilation=dilation))
        self.norm = layers.named(norm=nn.BatchNorm1d(channels))

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        y: Tensor = self.norm(torch.relu_(self.conv(_mirror(x, self.reach, padding))))
        return y


class _Block(nn.Module):
    """Res2Net between two pointwise layers, squeeze-excitation, shortcut: [B, C, T] to the same."""

    def __init__(self, config: EcapaTdnnConfig, size: int, dilation: int) -> None:
        super().__init__()
        channels = config.channels[0]
        self.tdnn1 = _Tdnn(channels, channels)
        self.res2net_block = _Res2Net(channels, config.res2net_scale, size, dilation)
        self.tdnn2 = _Tdnn(channels, channels)
        self.se_block = layers.named(
            conv1=layers.named(conv=nn.Conv1d(channels, config.se_channels, 1)),
            relu=nn.ReLU(inplace=True),
            conv2=layers.named(conv=nn.Conv1d(config.se_channels, channels, 1)),
            sigmoid=nn.Sigmoid(),
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        y = self.res2net_block(self.tdnn1(x, padding), padding)
        y = self.tdnn2(y, padding)
        mean, _ = layers.spatial_mean(y.unsqueeze(2), padding)  # [B, C, 1, 1]
        scaled: Tensor = y * self.se_block(mean.squeeze(2).to(y.dtype))
        return x + scaled


class _Res2Net(nn.Module):
    """A chain of convolutions over groups of channels: group i sees all before it. [B, C, T] to the same."""

    def __init__(self, channels: int, scale: int, size: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(_Tdnn(width, width, size, dilation) for _ in range(scale - 1))

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        first, second, *others = x.chunk(len(self.blocks) + 1, dim=1)
        outputs = [first, self.blocks[0](second, padding)]  # the first group passes through
        for block, group in zip(list(self.blocks)[1:], others, strict=True):
            outputs.append(block(group + outputs[-1], padding))
        return torch.cat(outputs, dim=1)


def _reach(size: int, dilation: int) -> int:
    """Frames that a convolution sees on either side."""
    return dilation * (size - 1) // 2


def _mirror(x: Tensor, reach: int, padding: Tensor | None) -> Tensor:
    """``x`` [B, C, T] with ``reach`` frames mirrored at each utterance's own ends: [B, C, T + 2 * reach].

    Only valid frames are read. Frames more than ``reach`` behind an utterance are of no use to anyone.
    """
    if reach == 0:
        return x
    if padding is None:
        return F.pad(x, (reach, reach), mode="reflect")
    last = (~padding).sum(-1, keepdim=True) - 1  # [B, 1, 1]
    frames = torch.arange(-reach, x.shape[-1] + reach, device=x.device).abs()
    source = (last - (frames - last).abs()).clamp(min=0)
    return x.gather(-1, source.expand(-1, x.shape[1], -1))


def _log_instance_norm(x: Tensor, padding: Tensor | None) -> Tensor:
    """Logarithm of the powers ``x`` [B, F, T], each band with mean 0 and (biased) variance 1 over time."""
    log = (x.to(torch.promote_types(x.dtype, torch.float32)) + LOG_OFFSET).log()
    mean, variance = layers.mean_and_variance(log, padding)
    count = layers.valid_frames(log, padding).sum(-1)
    deviation = (variance * (count - 1) / count + NORM_EPSILON).sqrt()
    return ((log - mean.unsqueeze(-1)) / deviation.unsqueeze(-1)).to(x.dtype)
