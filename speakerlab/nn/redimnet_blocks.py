"""Parts of the ReDimNets: stages that go from sequences to an image and back, time context, head.

A map is a sequence [B, F * C, T], rows of features first; ``to_image(x, rows)`` sees it as [B, C, F, T].
``stage(maps, padding)`` takes all maps so far to the next. Yakovlev et al., "Reshape dimensions network for
speaker recognition", arXiv 2407.18223. Modules have the names and places of the published checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.nn.pooling.astp import AstpConfig, AttentiveStatistics

NUM_HEADS = 4
TIME_KERNELS = (7, 19, 31, 59)  # of the convolutions over time in front of the attention
NORM_EPS = 1e-6


def check_stages(num_blocks: tuple[int, ...], **others: Sequence[float]) -> None:
    """Raises ValueError unless every setting has one positive number for each stage."""
    for name, values in {"num_blocks": num_blocks, **others}.items():
        if len(values) != len(num_blocks) or not values:
            raise ValueError(f"{name}: must have as many numbers as num_blocks, at least one")
        if min(values) < 0 or (0 in values and name != "reductions"):
            raise ValueError(f"{name}: must be positive")


def check_feat_dim(feat_dim: int, stride: int) -> None:
    """Raises ValueError unless the rows can be divided by all strides in frequency, ``stride`` together."""
    if feat_dim < 1 or feat_dim % stride:
        raise ValueError(f"feat_dim: must be a multiple of {stride}, not {feat_dim}")


def num_groups(channels: int, group_width: int) -> int:
    """Groups of a convolution to ``channels`` with ``group_width`` of them, or all, in each."""
    return max(1, channels // group_width)


def to_image(x: Tensor, rows: int) -> Tensor:
    """A map [B, F * C, T] as an image [B, C, F, T] of ``rows`` F."""
    return x.reshape(x.shape[0], rows, -1, x.shape[-1]).transpose(1, 2)


def to_map(x: Tensor) -> Tensor:
    """An image [B, C, F, T] as a map [B, F * C, T]."""
    return x.transpose(1, 2).flatten(1, 2)


class Chain(nn.ModuleList):
    """Modules in turn; padded frames of the first one's input are zeroed."""

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C, ..., T] to [B, C', ..., T]."""
        x = layers.zero(x, padding)
        for module in self:
            x = module(x)
        return x


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ..., T] to the same."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Fusion(nn.Module):
    """Mean of N maps, each channel of each map with its own weight.

    Args:
        num_maps: N.
        dim: channels of a map, or 1 for one weight per map.
    """

    def __init__(self, num_maps: int, dim: int) -> None:
        super().__init__()
        weights = torch.zeros(1, num_maps, dim, 1)
        if num_maps > 1:
            self.w = nn.Parameter(weights)
        else:
            self.register_buffer("w", weights)  # in the files, but without effect

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """N times [B, D, T] to [B, D, T]."""
        if len(maps) == 1:
            return maps[0]
        weights = self.w.softmax(dim=1).unbind(1)
        mean = weights[0] * maps[0]
        for weight, x in zip(weights[1:], maps[1:], strict=True):
            mean = torch.addcmul(mean, weight, x)
        return mean


class ConvNextBlock(nn.Module):
    """A grouped convolution, batch normalisation, GELU, a 1x1 convolution, and a shortcut.

    Args:
        channels: C.
        kernel: size of the first convolution in each dimension.
        groups: groups of the first convolution.
        dims: 1 over time, 2 over frequency and time.
    """

    def __init__(self, channels: int, kernel: int, groups: int, dims: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.dwconvs = nn.ModuleList([conv(channels, channels, kernel, padding=kernel // 2, groups=groups)])
        self.norm = norm(channels)
        self.pwconv1 = conv(channels, channels, 1)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C, T] or [B, C, F, T] to the same."""
        y = self.norm(self.dwconvs[0](layers.zero(x, padding)))
        change: Tensor = self.pwconv1(F.gelu(y))
        return x + change


class ResidualBlock(nn.Module):
    """Two grouped 3x3 convolutions, a 1x1 after each, and a shortcut.

    Args:
        channels: C.
        groups: groups of the 3x3 convolutions.
        rows: F, if each row is weighted by a squeeze and excitation; 0 if not.
    """

    def __init__(self, channels: int, groups: int, rows: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv1pw = nn.Conv2d(channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv2pw = nn.Conv2d(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = _RowWeights(rows, min(64, max(channels, 32))) if rows else None

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C, F, T] to the same."""
        y = self.bn1(torch.relu_(self.conv1pw(self.conv1(layers.zero(x, padding)))))
        y = self.bn2(self.conv2pw(self.conv2(layers.zero(y, padding))))
        if self.se is not None:
            y = y * self.se(y, padding)
        return torch.relu_(x + y)


class _RowWeights(nn.Module):
    """A weight for each row, from the means of all rows over channels and time."""

    def __init__(self, rows: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(rows, hidden)
        self.exitation = nn.Linear(hidden, rows)  # sic, in the files

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C, F, T] to [B, 1, F, 1]."""
        mean, _ = layers.mean_and_variance(x.mean(1), padding)
        weights = torch.sigmoid(self.exitation(torch.relu(self.squeeze(mean.to(x.dtype)))))
        return weights[:, None, :, None]


class Block2d(nn.Module):
    """One block over frequency and time.

    Args:
        kind: "convnext", "resnet" or "resnet_se", with weights for the rows.
        channels: C.
        rows: F.
        group_width: channels of a group of the convolutions.
    """

    def __init__(self, kind: str, channels: int, rows: int, group_width: int) -> None:
        super().__init__()
        groups = num_groups(channels, group_width)
        self.conv_block: nn.Module
        if kind == "convnext":
            self.conv_block = ConvNextBlock(channels, 3, groups, dims=2)
        else:
            self.conv_block = ResidualBlock(channels, groups, rows if kind == "resnet_se" else 0)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, C, F, T] to the same."""
        y: Tensor = self.conv_block(x, padding)
        return y


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, T, D] to the same; nothing attends to padded frames."""
        q, k, v = (
            projection(x).unflatten(-1, (NUM_HEADS, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if padding is None else ~padding.unsqueeze(1)  # [B, 1, 1, T]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out


class _Transformer(nn.Module):
    """Self-attention over time and a feed-forward layer, each with a shortcut and then a normalisation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = _Attention(dim)
        self.layer_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feed_forward = nn.Sequential(
            OrderedDict(
                intermediate_dense=nn.Linear(dim, dim),
                activation=nn.GELU(approximate="tanh"),
                output_dense=nn.Linear(dim, dim),
            )
        )
        self.final_layer_norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, D, T] to the same."""
        x = x.transpose(1, 2)
        x = self.layer_norm(x + self.attention(x, padding))
        x = self.final_layer_norm(x + self.feed_forward(x))
        return x.transpose(1, 2)


class TimeContext(nn.Module):
    """Convolutions over time and self-attention on a narrow version of a map, added to the map.

    Args:
        dim: channels of the map.
        reduction: ``dim`` over the width inside, which is rounded down to whole attention heads.
    """

    def __init__(self, dim: int, reduction: int) -> None:
        super().__init__()
        width = max(1, dim // reduction // NUM_HEADS) * NUM_HEADS
        self.red_dim_conv = nn.Sequential(nn.Conv1d(dim, width, 1), ChannelNorm(width))
        self.tcm = nn.ModuleList(ConvNextBlock(width, kernel, width, dims=1) for kernel in TIME_KERNELS)
        self.tcm.append(_Transformer(width))
        self.exp_dim_conv = nn.Conv1d(width, dim, 1)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """[B, D, T] to the same."""
        y = self.red_dim_conv(x)
        for step in self.tcm:
            y = step(y, padding)
        change: Tensor = self.exp_dim_conv(y)
        return x + change


class Flatten(nn.Module):
    """The step of a stage from image to map."""

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:  # noqa: ARG002
        """[B, C, F, T] to [B, F * C, T]."""
        return to_map(x)


class Stage(nn.ModuleList):
    """The fusion of all maps, a strided convolution of its image, and steps that lead to the next map.

    A step is ``step(x, padding) -> x``. If the convolution strides over time, the frames of the result are
    repeated up to the length of the maps.

    Args:
        rows: F of the image.
        fusion: makes one map of all.
        conv: kernel and stride alike, so that it never mixes padded with valid frames.
        steps: what follows.
    """

    def __init__(self, rows: int, fusion: Fusion, conv: nn.Conv2d, steps: Iterable[nn.Module]) -> None:
        # The second place is that of the reshaping, which has no parameters.
        super().__init__([fusion, nn.Identity(), conv, *steps])
        self.rows = rows
        self.time_stride = conv.stride[1]

    def forward(self, maps: Sequence[Tensor], padding: Tensor | None) -> Tensor:
        """N times [B, D, T] and their padding to [B, D, T]."""
        fusion, _, conv, *steps = self
        x: Tensor = conv(to_image(fusion(maps), self.rows))
        padding = layers.stride_padding(padding, self.time_stride)
        for step in steps:
            x = step(x, padding)
        return x.unsqueeze(-1).expand(-1, -1, -1, self.time_stride).flatten(2)


class Backbone(nn.Module):
    """The stem's map, the maps of all stages, and their fusion.

    Args:
        channels: C of the stem.
        feat_dim: F of the features.
        stages: in order.
    """

    def __init__(self, channels: int, feat_dim: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stem = Chain([nn.Conv2d(1, channels, 3, padding=1), ChannelNorm(channels)])
        for i, stage in enumerate(stages):
            self.add_module(f"stage{i}", stage)
        self.num_stages = len(stages)
        self.fin_wght1d = Fusion(len(stages) + 1, channels * feat_dim)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Features [B, 1, F, T] and their padding to [B, C * F, T]."""
        maps = [self.first_map(x, padding)]
        for i in range(self.num_stages):
            maps.append(self.get_submodule(f"stage{i}")(maps, padding))
        fused: Tensor = self.fin_wght1d(maps)
        return fused

    def first_map(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Features [B, 1, F, T] to [B, C * F, T]."""
        return to_map(self.stem(x, padding))


class ReshapeNetwork(nn.Module):
    """A backbone, attentive statistics with global context, batch normalisation and a linear layer.

    Args:
        backbone: from [B, 1, F, T] and padding to [B, C, T].
        out_dim: that C.
        embed_dim: size of the embedding.
    """

    min_frames = 2  # for a standard deviation

    def __init__(self, backbone: nn.Module, out_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.backbone = backbone
        self.pool = AttentiveStatistics(AstpConfig(global_context=True), in_dim=out_dim)
        self.bn = nn.BatchNorm1d(self.pool.out_dim)
        self.linear = nn.Linear(self.pool.out_dim, embed_dim)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        padding = layers.find_padding(feats, lengths, self.min_frames)
        x = self.backbone(feats.transpose(1, 2).unsqueeze(1), padding)
        embedding: Tensor = self.linear(self.bn(layers.pool(self.pool, x, padding)))
        return embedding
