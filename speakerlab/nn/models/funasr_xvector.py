"""FunASR's x-vector: a pre-activation ResNet34, statistics over time and frequency at once, linear layers.

``FunasrXvector(FunasrXvectorConfig(), feat_dim=80)(feats, lengths)``: [B, T, 80] to [B, 256].
He et al., "Identity mappings in deep residual networks", arXiv 1603.05027. Parameters have the names and
shapes of the published checkpoint, up to the layer that gives the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.registry import register

EPSILON = 1e-3  # of every batch normalisation, as in TensorFlow, where the checkpoint comes from


@dataclass(frozen=True)
class FunasrXvectorConfig:
    """Settings of ``funasr_xvector``; the defaults are those of the published model.

    Attributes:
        embed_dim: size of the embedding, and of ``resnet1_dense`` in any case.
        num_blocks: residual blocks in each of the four stages.
        channels: channels of each stage.
        pooled_dim: channels of which the statistics are taken.
        embedding_node: linear layer whose output is the embedding. ``resnet2_dense`` follows
            ``resnet1_dense`` behind ReLU and batch normalisation.
    """

    embed_dim: int = 256
    num_blocks: tuple[int, ...] = (3, 4, 6, 3)
    channels: tuple[int, ...] = (32, 64, 128, 256)
    pooled_dim: int = 256
    embedding_node: Literal["resnet1_dense", "resnet2_dense"] = "resnet1_dense"

    def __post_init__(self) -> None:
        for name in ("num_blocks", "channels"):
            if len(getattr(self, name)) != 4 or min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: must be four positive numbers")
        for name in ("embed_dim", "pooled_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class FunasrXvector(nn.Module):
    """Speaker embeddings from the features seen as an image of T rows and F columns.

    Args:
        config: sizes, and which layer gives the embedding.
        feat_dim: F of the features; no size depends on it.
    """

    Config = FunasrXvectorConfig
    PAPER: ClassVar[str] = "arXiv 1603.05027"
    VARIANTS: ClassVar[dict[str, FunasrXvectorConfig]] = {
        "resnet1_dense": FunasrXvectorConfig(),
        "resnet2_dense": FunasrXvectorConfig(embedding_node="resnet2_dense"),
    }
    min_frames = 1  # the deviation is over frequency too

    def __init__(self, config: FunasrXvectorConfig, feat_dim: int) -> None:  # noqa: ARG002
        super().__init__()
        self.embed_dim = config.embed_dim
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x, padding = self.encoder(feats, padding)
        embedding: Tensor = self.decoder(_statistics(x, padding))
        return embedding


class _Encoder(nn.Module):
    """Features [B, T, F] to the image [B, C, T / 8, F / 8], rounded up, and its padding."""

    def __init__(self, config: FunasrXvectorConfig) -> None:
        super().__init__()
        width = config.channels[0]
        self.pre_conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.pre_conv_bn = nn.BatchNorm2d(width, eps=EPSILON)
        for i, (num_blocks, channels) in enumerate(zip(config.num_blocks, config.channels, strict=True)):
            self.add_module(f"block_{i}", _stage(width, channels, num_blocks, stride=min(i + 1, 2)))
            width = channels
        self.resnet0_dense = nn.Conv2d(width, config.pooled_dim, 1)
        self.resnet0_bn = nn.BatchNorm2d(config.pooled_dim, eps=EPSILON)

    def forward(self, feats: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = _zero(feats.unsqueeze(1), padding)  # [B, 1, T, F]: the kernels are stored time first
        x = torch.relu_(self.pre_conv_bn(self.pre_conv(x)))
        x = x.contiguous(memory_format=torch.channels_last)  # up to a third faster on the CPU
        for i in range(4):
            for layer in self.get_submodule(f"block_{i}").children():
                x, padding = layer(x, padding)
        return self.resnet0_bn(torch.relu_(self.resnet0_dense(x))), padding


def _stage(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Module:
    stage = nn.Module()
    stage.add_module("layer_0", _PreActivationBlock(in_channels, channels, stride))
    for i in range(1, num_blocks):
        stage.add_module(f"layer_{i}", _PreActivationBlock(channels, channels, stride=1))
    return stage


class _PreActivationBlock(nn.Module):
    """Normalisation, ReLU, 3x3 convolution, twice, and a shortcut: [B, C, T, F] to [B, C', T', F'].

    ``stride`` is 1 or 2, in time and frequency; T' is T / stride, rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.bn1 = nn.BatchNorm2d(in_channels, eps=EPSILON)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=stride % 2, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=EPSILON)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.has_shortcut = stride > 1 or in_channels != out_channels
        if self.has_shortcut:
            self.conv_sc = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.bn_sc = nn.BatchNorm2d(out_channels, eps=EPSILON)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y = _zero(torch.relu_(self.bn1(x)), padding)
        if self.stride == 2:
            y = _pad_same(y, padding)
        padding = layers.stride_padding(padding, self.stride)
        y = _zero(torch.relu_(self.bn2(self.conv1(y))), padding)
        # Sliced, not strided: torch 2.13 crashes in the gradient of a strided 1x1 with channels last.
        x = x[:, :, :: self.stride, :: self.stride]
        if self.has_shortcut:
            x = self.bn_sc(self.conv_sc(x))
        return self.conv2(y).add_(x), padding


def _zero(x: Tensor, padding: Tensor | None) -> Tensor:
    """``layers.zero`` with time as rows: ``x`` [B, C, T, F], ``padding`` [B, 1, T]."""
    return x if padding is None else x.masked_fill(padding.unsqueeze(-1), 0.0)


def _pad_same(x: Tensor, padding: Tensor | None) -> Tensor:
    """Zeros around ``x`` [B, C, T, F], so that a 3x3 convolution with stride 2 gives T / 2 rounded up.

    TensorFlow's "same": one zero behind, and one in front of an odd number only. Utterances of a batch
    differ in that, so each starts with its own number of zeros; ``x`` is zero at padded frames.
    """
    rows, columns = (2 * ((size + 1) // 2) - size for size in x.shape[-2:])  # 1 in front of an odd size
    if padding is None:
        return F.pad(x, (columns, 1, rows, 1))
    odd = (~padding).sum(-1) % 2 == 1  # [B, 1]
    x = F.pad(x, (columns, 1, 1, 2))
    return torch.where(odd[..., None, None], x[:, :, :-1], x[:, :, 1:])


def _statistics(x: Tensor, padding: Tensor | None) -> Tensor:
    """Mean and population deviation over the valid cells of ``x`` [B, C, T, F]: [B, 2C]."""
    if padding is not None:
        padding = padding.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1]).flatten(2)
    cells = x.flatten(2)
    mean, variance = layers.mean_and_variance(cells, padding)
    count = layers.valid_frames(cells, padding).sum(-1)
    deviation = layers.deviation(variance * (count - 1) / count)
    return torch.cat([mean, deviation], dim=1).to(x.dtype)


class _Decoder(nn.Module):
    """Statistics [B, 2C] to the embedding [B, E], before ReLU and normalisation."""

    def __init__(self, config: FunasrXvectorConfig) -> None:
        super().__init__()
        self.resnet1_dense = nn.Linear(2 * config.pooled_dim, config.embed_dim)
        self.two_layers = config.embedding_node == "resnet2_dense"
        if self.two_layers:
            self.resnet1_bn = nn.BatchNorm1d(config.embed_dim, eps=EPSILON)
            self.resnet2_dense = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, statistics: Tensor) -> Tensor:
        embedding: Tensor = self.resnet1_dense(statistics)
        if self.two_layers:
            embedding = self.resnet2_dense(self.resnet1_bn(torch.relu(embedding)))
        return embedding
