"""CAM++: a densely connected TDNN with context-aware masking behind a small 2-D convolutional front.

``CAMPPlus(CAMPPlusConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 192].
Wang et al., "CAM++: a fast and efficient network for speaker verification using context-aware masking",
Interspeech 2023. Parameters have the names and shapes of the published checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.registry import register

WINDOW = 100  # frames of a context segment, after the stride of 2: 2 s
DILATIONS = (1, 2, 2)  # of the three dense blocks


@dataclass(frozen=True)
class CAMPPlusConfig:
    """Settings of ``campplus``; the defaults are those of the published models.

    Attributes:
        embed_dim: size of the embedding.
        growth_rate: channels that each dense layer adds.
        bn_size: width of a dense layer's bottleneck, in growth rates.
        init_channels: channels in front of the dense blocks.
        num_layers: dense layers in each of the three blocks.
        head_channels: channels of the 2-D convolutions.
    """

    embed_dim: int = 192
    growth_rate: int = 32
    bn_size: int = 4
    init_channels: int = 128
    num_layers: tuple[int, ...] = (12, 24, 16)
    head_channels: int = 32

    def __post_init__(self) -> None:
        if len(self.num_layers) != len(DILATIONS) or min(self.num_layers) < 1:
            raise ValueError("num_layers: must be three positive numbers")
        for name in ("embed_dim", "growth_rate", "bn_size", "init_channels", "head_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class CAMPPlus(nn.Module):
    """Speaker embeddings from features; the context mask looks at 2 s windows and the whole utterance.

    Args:
        config: sizes.
        feat_dim: F of the features.
    """

    Config = CAMPPlusConfig
    PAPER: ClassVar[str] = "arXiv 2303.00332"
    VARIANTS: ClassVar[dict[str, CAMPPlusConfig]] = {
        "e192": CAMPPlusConfig(),
        "e512": CAMPPlusConfig(embed_dim=512),
    }
    min_frames = 3  # two after the stride, for a standard deviation

    def __init__(self, config: CAMPPlusConfig, feat_dim: int) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.head = _Head(config.head_channels, feat_dim)
        self.xvector = _DenseTdnn(config, self.head.out_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        embedding: Tensor = self.xvector(self.head(feats.transpose(1, 2), padding), padding)
        return embedding


class _Head(nn.Module):
    """Two-dimensional convolutions, [B, F, T] to [B, C * F / 8, T]: robust to shifts in frequency."""

    def __init__(self, channels: int, feat_dim: int) -> None:
        super().__init__()
        self.out_channels = channels * -(-feat_dim // 8)  # three strides of 2, each rounding up
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.ModuleList(_head_block(channels, stride) for stride in (2, 1))
        self.layer2 = nn.ModuleList(_head_block(channels, stride) for stride in (2, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, feats: Tensor, padding: Tensor | None) -> Tensor:
        x = layers.zero(feats.unsqueeze(1), padding)  # [B, 1, F, T]
        x = torch.relu_(self.bn1(self.conv1(x)))
        x = x.contiguous(memory_format=torch.channels_last)  # up to a third faster on the CPU
        for block in (*self.layer1, *self.layer2):
            x, _ = block(x, padding)
        x = torch.relu_(self.bn2(self.conv2(layers.zero(x, padding))))
        return x.flatten(1, 2)


def _head_block(channels: int, stride: int) -> layers.ResidualBlock2d:
    return layers.ResidualBlock2d(channels, channels, (stride, 1))


class _DenseTdnn(nn.Module):
    """[B, C, T] to the embedding: strided TDNN, three dense blocks, statistics pooling, linear layer."""

    def __init__(self, config: CAMPPlusConfig, in_channels: int) -> None:
        super().__init__()
        channels = config.init_channels
        tdnn = nn.Conv1d(in_channels, channels, 5, stride=2, padding=2, bias=False)
        self.tdnn = nn.Sequential(OrderedDict(linear=tdnn, nonlinear=_batchnorm_relu(channels)))
        for i, (num_layers, dilation) in enumerate(zip(config.num_layers, DILATIONS, strict=True), 1):
            self.add_module(f"block{i}", _DenseBlock(config, channels, num_layers, dilation))
            channels += num_layers * config.growth_rate
            transit = nn.Conv1d(channels, channels // 2, 1, bias=False)
            parts = OrderedDict(nonlinear=_batchnorm_relu(channels), linear=transit)
            self.add_module(f"transit{i}", nn.Sequential(parts))
            channels //= 2
        self.out_nonlinear = _batchnorm_relu(channels)
        norm = nn.BatchNorm1d(config.embed_dim, affine=False)
        self.dense = nn.Sequential(
            OrderedDict(
                linear=nn.Conv1d(2 * channels, config.embed_dim, 1, bias=False),
                nonlinear=nn.Sequential(OrderedDict(batchnorm=norm)),
            )
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        x = self.tdnn(layers.zero(x, padding))
        padding = layers.stride_padding(padding, 2)
        windows = _count_windows(x, padding)
        for i in range(1, len(DILATIONS) + 1):
            block, transit = self.get_submodule(f"block{i}"), self.get_submodule(f"transit{i}")
            x = transit(block(x, padding, windows))
        mean, variance = layers.mean_and_variance(self.out_nonlinear(x), padding)
        statistics = torch.cat([mean, layers.deviation(variance)], dim=1).to(x.dtype)
        embedding: Tensor = self.dense(statistics.unsqueeze(-1)).squeeze(-1)
        return embedding


class _Windows(NamedTuple):
    """Valid frames per context window [B or 1, 1, S], at least 1, and per utterance [B or 1, 1, 1]."""

    counts: Tensor
    lengths: Tensor


def _count_windows(x: Tensor, padding: Tensor | None) -> _Windows:
    counts = _sum_windows(layers.valid_frames(x, padding))
    return _Windows(counts.clamp(min=1), counts.sum(-1, keepdim=True))


def _sum_windows(x: Tensor) -> Tensor:
    """Sums of ``x`` [B, C, T] over windows of 100 frames, the last one partial: [B, C, S], float32.

    Not average pooling: runtimes disagree on what to divide a partial window by.
    """
    count = (x.shape[-1] + WINDOW - 1) // WINDOW
    whole = F.pad(x, (0, count * WINDOW - x.shape[-1]))
    return whole.view(*x.shape[:2], count, WINDOW).sum(-1, dtype=torch.float32)


class _DenseBlock(nn.Module):
    """Layers that each see the channels of all before them: [B, C, T] to [B, C + N * growth, T]."""

    def __init__(self, config: CAMPPlusConfig, channels: int, num_layers: int, dilation: int) -> None:
        super().__init__()
        for i in range(num_layers):
            layer = _DenseLayer(config, channels + i * config.growth_rate, dilation)
            self.add_module(f"tdnnd{i + 1}", layer)

    def forward(self, x: Tensor, padding: Tensor | None, windows: _Windows) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x, padding, windows)], dim=1)
        return x


class _DenseLayer(nn.Module):
    """Bottleneck, then the context-masked convolution: [B, C, T] to [B, growth, T]."""

    def __init__(self, config: CAMPPlusConfig, channels: int, dilation: int) -> None:
        super().__init__()
        width = config.bn_size * config.growth_rate
        self.nonlinear1 = _batchnorm_relu(channels)
        self.linear1 = nn.Conv1d(channels, width, 1, bias=False)
        self.nonlinear2 = _batchnorm_relu(width)
        self.cam_layer = _ContextMask(width, config.growth_rate, dilation)

    def forward(self, x: Tensor, padding: Tensor | None, windows: _Windows) -> Tensor:
        x = self.nonlinear2(self.linear1(self.nonlinear1(x)))
        y: Tensor = self.cam_layer(layers.zero(x, padding), windows)
        return y


class _ContextMask(nn.Module):
    """A convolution whose output is scaled by a mask from the context of each frame.

    The context is the utterance's mean plus the mean of the frame's window (section 2.2 of the paper). It is
    constant within a window, so the mask is computed once per window, not per frame.
    """

    def __init__(self, channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, out_channels, 1)

    def forward(self, x: Tensor, windows: _Windows) -> Tensor:
        """``x`` [B, C, T], zero at padded frames, to [B, C', T]."""
        y: Tensor = self.linear_local(x)
        sums = _sum_windows(x)
        context = sums / windows.counts + sums.sum(-1, keepdim=True) / windows.lengths
        mask = torch.sigmoid(self.linear2(torch.relu(self.linear1(context.to(x.dtype)))))  # [B, C', S]
        per_frame = mask.unsqueeze(-1).expand(-1, -1, -1, WINDOW).flatten(2)
        return y * per_frame[..., : y.shape[-1]]


def _batchnorm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True)))
