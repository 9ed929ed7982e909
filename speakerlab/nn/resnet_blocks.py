"""Parts of the 2-D residual networks: the stem with its four stages, and a bottleneck's convolutions.

A network derives from ``ResidualStages`` or holds one: ``x, padding = stages.encode(feats, padding)`` takes
features [B, T, F] to [B, C * F / 8, T / 8]. He et al., "Deep residual learning", 2015.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from speakerlab.nn import layers

STRIDES = (1, 2, 2, 2)  # of the four stages, in frequency and time

# (input channels, output channels, stride) -> module(x, padding) -> (y, padding)
BlockBuilder = Callable[[int, int, tuple[int, int]], nn.Module]


def check_num_blocks(num_blocks: tuple[int, ...]) -> None:
    """Raises ValueError unless there are blocks for each of the stages."""
    if len(num_blocks) != len(STRIDES) or min(num_blocks) < 1:
        raise ValueError("num_blocks: must be four positive numbers")


class ResidualStages(nn.Module):
    """A 3x3 convolution, then four stages of blocks; each later stage halves F and T and doubles C.

    ``min_frames`` gives two frames at the end, as a deviation over time needs.

    Args:
        block: makes a block.
        m_channels: channels of the first convolution.
        expansion: output channels of the first stage's blocks, in ``m_channels``.
        num_blocks: blocks of each stage.
        stem_time_stride: time stride of the first convolution.
    """

    def __init__(
        self,
        block: BlockBuilder,
        m_channels: int,
        expansion: int,
        num_blocks: tuple[int, ...],
        stem_time_stride: int = 1,
    ) -> None:
        super().__init__()
        self.min_frames = 8 * stem_time_stride + 1
        self.conv1 = nn.Conv2d(1, m_channels, 3, (1, stem_time_stride), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(m_channels)
        channels, width = m_channels, m_channels * expansion
        for i, (count, stride) in enumerate(zip(num_blocks, STRIDES, strict=True), 1):
            blocks = [block(channels, width, (stride, stride))]
            blocks += (block(width, width, (1, 1)) for _ in range(count - 1))
            self.add_module(f"layer{i}", nn.ModuleList(blocks))
            channels, width = width, 2 * width
        self.top_channels = channels

    def top_dim(self, feat_dim: int) -> int:
        """Channels times rows at the end, for features of ``feat_dim``."""
        return self.top_channels * -(-feat_dim // 8)  # three strides of 2, each rounding up

    def encode(self, feats: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features [B, T, F] and their padding to [B, top_dim, T'] and its padding."""
        x = layers.zero(feats.transpose(1, 2).unsqueeze(1), padding)  # [B, 1, F, T]
        x = self.conv1(x).contiguous(memory_format=torch.channels_last)  # up to a third faster on the CPU
        x = torch.relu_(self.bn1(x))
        padding = layers.stride_padding(padding, self.conv1.stride[1])
        for i in range(1, len(STRIDES) + 1):
            for block in self.get_submodule(f"layer{i}").children():
                x, padding = block(x, padding)
        return x.flatten(1, 2), padding


class BottleneckBranch(nn.Module):
    """The 1x1, 3x3 and 1x1 convolutions of a bottleneck block, without its shortcut.

    Args:
        in_channels: C of the input.
        width: C inside.
        out_channels: C of the output.
        stride: (frequency, time) stride of the 3x3 convolution.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def convolve(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, C, F, T] and its padding to [B, C', F', T'] and its padding; padded frames are not zero."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(layers.zero(y, padding))))
        y = self.bn3(self.conv3(y))
        return y, layers.stride_padding(padding, self.conv2.stride[1])
