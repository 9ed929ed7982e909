"""Blocks used by two or more networks: the padding mask, moments over time, the 2-D residual block.

Utterances of a batch are padded at their end. ``padding`` [B, 1, T] is True at padded frames, or None
where there are none: ``padding = find_padding(feats, lengths, min_frames=3)``. A network zeroes the padding
before every convolution over time, as the convolution's own zero padding does for one utterance alone.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from speakerlab import registry


def find_padding(feats: Tensor, lengths: Tensor | None, min_frames: int) -> Tensor | None:
    """Which frames of ``feats`` [B, T, F] lie beyond ``lengths`` [B]; None if none does.

    Raises:
        ValueError: an utterance is shorter than ``min_frames`` or longer than T.
    """
    num_frames = feats.shape[1]
    if lengths is None:
        shortest = longest = num_frames
    else:
        shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < min_frames:
        raise ValueError(f"an utterance has {shortest} frames; the network needs at least {min_frames}")
    if longest > num_frames:
        raise ValueError(f"a length is {longest}, but the batch has {num_frames} frames")
    if lengths is None or shortest == num_frames:
        return None
    return frames_beyond(lengths, num_frames)


def frames_beyond(lengths: Tensor, num_frames: int) -> Tensor:
    """[B, 1, num_frames], True from frame ``lengths[b]`` on."""
    return torch.arange(num_frames, device=lengths.device) >= lengths[:, None, None]


def zero(x: Tensor, padding: Tensor | None) -> Tensor:
    """``x`` [B, C, T] or [B, C, F, T] with zeros at padded frames, whatever they held (NaN too)."""
    if padding is None:
        return x
    padding = padding if x.dim() == 3 else padding.unsqueeze(1)
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return x.masked_fill(padding, 0.0)
    kept = padding.to(torch.int32) - 1  # all bits where not padded; six times as fast as masked_fill
    return (x.view(torch.int32) & kept).view(torch.float32)


def stride_padding(padding: Tensor | None, stride: int) -> Tensor | None:
    """The padding after a convolution of odd kernel, padded to keep the length, with ``stride``.

    Output frame j is centred on input frame j * stride, and is valid exactly where that one is.
    """
    return None if padding is None else padding[..., ::stride]


def valid_frames(x: Tensor, padding: Tensor | None) -> Tensor:
    """1.0 at valid and 0.0 at padded frames of ``x`` [B, C, T]: [B, 1, T], or [1, 1, T] without padding.

    Counts are sums of this tensor, never Python numbers, so that an exported graph counts anew.
    """
    if padding is None:
        return torch.ones_like(x[:1, :1], dtype=torch.float32)
    return (~padding).to(torch.float32)


def mean_and_variance(x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over the valid frames of ``x`` [B, C, T]: two [B, C], in float32 or better.

    The variance of a single frame is 0.
    """
    x = zero(x.to(torch.promote_types(x.dtype, torch.float32)), padding)
    count = valid_frames(x, padding).sum(-1)  # [B or 1, 1]
    mean = x.sum(-1) / count
    centred = zero(x - mean.unsqueeze(-1), padding)
    return mean, centred.square().sum(-1) / (count - 1).clamp(min=1)


def spatial_mean(x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean over the rows and valid frames of ``x`` [B, C, F, T], and how many values it is of.

    Returns:
        [B, C, 1, 1] in float32 or better, and [B or 1, 1, 1, 1].
    """
    x = zero(x.to(torch.promote_types(x.dtype, torch.float32)), padding)
    frames = valid_frames(x[:, :, 0], padding).sum(-1)[..., None, None]  # [B or 1, 1, 1, 1]
    count = frames * x.shape[2]
    return x.sum((2, 3), keepdim=True) / count, count


def deviation(variance: Tensor) -> Tensor:
    """The square root of a variance, with a finite gradient at 0 (where the root is 1e-6)."""
    return variance.clamp(min=1e-12).sqrt()


def named(**modules: nn.Module) -> nn.Sequential:
    """``modules`` one after the other, under their names."""
    return nn.Sequential(OrderedDict(modules))


def build_pooling(name: str, in_dim: int) -> tuple[nn.Module, int]:
    """The pooling registered as ``name``, with its default settings, for [B, in_dim, T]; its ``out_dim``.

    Raises:
        SpeakerLabError: no such pooling.
    """
    cls = registry.get("pooling", name)
    pooling = cls(cls.Config(), in_dim=in_dim)
    return pooling, pooling.out_dim


def pool(pooling: nn.Module, x: Tensor, padding: Tensor | None) -> Tensor:
    """``pooling`` over the valid frames of ``x`` [B, C, T]: [B, D]."""
    lengths = None if padding is None else (~padding).sum((1, 2))
    pooled: Tensor = pooling(x, lengths)
    return pooled


class Shortcut2d(nn.Sequential):
    """The input of a residual block in the shape of its output: a 1x1 convolution, or nothing to do.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: (frequency, time) stride of the block.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        if stride != (1, 1) or in_channels != out_channels:
            self.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] to [B, C', F', T']."""
        # Sliced, not strided: torch 2.13 crashes in the gradient of a strided 1x1 with channels last.
        frequency, time = (slice(None, None, step) for step in self.stride)
        if self.training:  # as [B, F, T, C]: the gradient of a slice has the layout of its axes
            x = x.permute(0, 2, 3, 1)[:, frequency, time].permute(0, 3, 1, 2)
        else:
            x = x[:, :, frequency, time]
        for layer in self:
            x = layer(x)
        return x


class ResidualBlock2d(nn.Module):
    """Two 3x3 convolutions and a shortcut over [B, C, F, T] (He et al. 2015, the basic block).

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: (frequency, time) stride of the first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = Shortcut2d(in_channels, out_channels, stride)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        x = zero(x, padding)
        padding = stride_padding(padding, self.stride[1])
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(zero(y, padding)))
        return torch.relu_(y.add_(self.shortcut(x))), padding
