"""GhostVLAD pooling: [B, C, T] to [B, K * C], what the frames differ by from K learned centres.

``GhostVLADPooling(GhostVLADPoolingConfig(), in_dim=512)(x, lengths)``. Zhong et al., "GhostVLAD for
set-based face recognition", arXiv 1810.09951; for speakers: Xie et al., arXiv 1902.10107. Without ghosts
it is NetVLAD, Arandjelovic et al., arXiv 1511.07247.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn import layers
from speakerlab.registry import register

EPSILON = 1e-6  # shortest vector that is brought to length 1


@dataclass(frozen=True)
class GhostVLADPoolingConfig:
    """Settings of the pooling ``ghostvlad``.

    Attributes:
        num_clusters: K, the clusters whose differences are the output.
        num_ghosts: clusters that take frames of little use and are left out; 0 is NetVLAD.
    """

    num_clusters: int = 8
    num_ghosts: int = 2

    def __post_init__(self) -> None:
        if self.num_clusters < 1:
            raise ValueError("num_clusters: must be at least 1")
        if self.num_ghosts < 0:
            raise ValueError("num_ghosts: must not be negative")


def aggregate(x: Tensor, scores: Tensor, centers: Tensor, padding: Tensor | None) -> Tensor:
    """V_k = sum over t of a_kt (x_t - c_k), a = softmax over clusters of ``scores``, each V_k of length 1.

    Args:
        x: [B, C, T].
        scores: [B, K + G, T], the K clusters first, then the ghosts.
        centers: [K, C].
        padding: [B, 1, T] or None.

    Returns:
        [B, K * C], cluster by cluster, float32 or better.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    x = layers.zero(x.to(dtype), padding)
    shares = scores.to(dtype).softmax(dim=1)[:, : len(centers)]
    shares = layers.zero(shares, padding)
    sums = shares @ x.transpose(1, 2) - shares.sum(-1, keepdim=True) * centers.to(dtype)
    return F.normalize(sums, dim=-1, eps=EPSILON).flatten(1)


@register("pooling")
class GhostVLADPooling(nn.Module):
    """``aggregate`` with scores that are a linear function of the frame.

    Args:
        config: number of clusters and ghosts.
        in_dim: channels C of the input.
    """

    Config = GhostVLADPoolingConfig

    def __init__(self, config: GhostVLADPoolingConfig, in_dim: int) -> None:
        super().__init__()
        self.out_dim = config.num_clusters * in_dim
        self.assignment = nn.Conv1d(in_dim, config.num_clusters + config.num_ghosts, 1)
        self.centers = nn.Parameter(torch.empty(config.num_clusters, in_dim))
        nn.init.orthogonal_(self.centers)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, C, T], ``lengths`` [B] of at least one frame, to [B, K * C]."""
        padding = None if lengths is None else layers.frames_beyond(lengths, x.shape[-1])
        x = layers.zero(x, padding)
        return aggregate(x, self.assignment(x), self.centers, padding).to(x.dtype)
