"""ECAPA-TDNN as WeSpeaker builds it: zeros beyond the ends, fewer normalisations, attention without context.

``WeSpeakerEcapa(WeSpeakerEcapaConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192].
Desplanques et al., "ECAPA-TDNN: emphasized channel attention, propagation and aggregation in TDNN based
speaker verification", Interspeech 2020. Parameters have the names and shapes of WeSpeaker's checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab import registry
from speakerlab.nn import layers
from speakerlab.registry import register

DILATIONS = (2, 3, 4)  # of the three blocks
SCALE = 8  # groups of channels in a block
SE_CHANNELS = 128
POOLED_CHANNELS = 1536


@dataclass(frozen=True)
class WeSpeakerEcapaConfig:
    """Settings of ``wespeaker_ecapa``.

    Attributes:
        embed_dim: size of the embedding.
        channels: of all convolutions but the last, a multiple of 8.
        global_context: whether attention sees the mean and deviation of the utterance beside each frame.
        embed_norm: whether batch normalisation ends the network, as where it was trained without labels.
    """

    embed_dim: int = 192
    channels: int = 512
    global_context: bool = False
    embed_norm: bool = False

    def __post_init__(self) -> None:
        if self.channels < SCALE or self.channels % SCALE:
            raise ValueError(f"channels: must be a multiple of {SCALE}")
        if self.embed_dim < 1:
            raise ValueError("embed_dim: must be at least 1")


@register("model")
class WeSpeakerEcapa(nn.Module):
    """Speaker embeddings from features.

    Args:
        config: sizes.
        feat_dim: F of the features.
    """

    Config = WeSpeakerEcapaConfig
    PAPER: ClassVar[str] = "arXiv 2005.07143"
    VARIANTS: ClassVar[dict[str, WeSpeakerEcapaConfig]] = {
        "c512": WeSpeakerEcapaConfig(),
        "c512_glob": WeSpeakerEcapaConfig(global_context=True),
        "c1024": WeSpeakerEcapaConfig(channels=1024),
        "c1024_glob": WeSpeakerEcapaConfig(channels=1024, global_context=True),
    }
    min_frames = 2  # for a standard deviation

    def __init__(self, config: WeSpeakerEcapaConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.layer1 = _Tdnn(feat_dim, config.channels, size=5)
        self.layer2, self.layer3, self.layer4 = (_Block(config.channels, d) for d in DILATIONS)
        self.conv = nn.Conv1d(len(DILATIONS) * config.channels, POOLED_CHANNELS, 1)
        pooling = registry.get("pooling", "astp")
        settings = pooling.Config(global_context=config.global_context)
        self.pool: nn.Module = pooling(settings, in_dim=POOLED_CHANNELS)
        self.bn = nn.BatchNorm1d(2 * POOLED_CHANNELS)
        self.linear = nn.Linear(2 * POOLED_CHANNELS, config.embed_dim)
        self.bn2 = nn.BatchNorm1d(config.embed_dim) if config.embed_norm else nn.Identity()

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = self.layer1(layers.zero(feats.transpose(1, 2), padding))
        outputs = []
        for block in (self.layer2, self.layer3, self.layer4):
            x = block(x, padding)
            outputs.append(x)
        x = torch.relu_(self.conv(torch.cat(outputs, dim=1)))
        embedding: Tensor = self.bn2(self.linear(self.bn(layers.pool(self.pool, x, padding))))
        return embedding


class _Tdnn(nn.Module):
    """Convolution, ReLU, batch normalisation: [B, C, T], zero at padded frames, to [B, C', T]."""

    def __init__(self, in_channels: int, channels: int, size: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, size, padding=size // 2)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(torch.relu_(self.conv(x)))
        return y


class _Block(nn.Module):
    """Res2Net between two pointwise layers, squeeze and excitation, shortcut: [B, C, T] to the same."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.se_res2block = nn.ModuleList(
            [_Tdnn(channels, channels), _Res2Net(channels // SCALE, dilation), _Tdnn(channels, channels)]
        )
        self.se_res2block.append(_Excitation(channels))

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        first, res2net, last, excitation = self.se_res2block
        y: Tensor = excitation(last(res2net(first(x), padding)), padding)
        return x + y


class _Res2Net(nn.Module):
    """Convolutions of one group of channels after another, each with the result before; the last passes."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for _ in range(SCALE - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(SCALE - 1))

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        *groups, last = layers.zero(x, padding).chunk(SCALE, dim=1)
        outputs: list[Tensor] = []
        for group, conv, norm in zip(groups, self.convs, self.bns, strict=True):
            y = group + layers.zero(outputs[-1], padding) if outputs else group
            outputs.append(norm(torch.relu_(conv(y))))
        return torch.cat([*outputs, last], dim=1)


class _Excitation(nn.Module):
    """Each channel scaled by what the means of all channels over the utterance say: [B, C, T] to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, SE_CHANNELS)
        self.linear2 = nn.Linear(SE_CHANNELS, channels)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        mean, _ = layers.spatial_mean(x.unsqueeze(2), padding)  # [B, C, 1, 1]
        scale = torch.sigmoid(self.linear2(torch.relu(self.linear1(mean.flatten(1).to(x.dtype)))))
        return x * scale.unsqueeze(-1)
