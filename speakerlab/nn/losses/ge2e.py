"""Generalised end-to-end loss: each crop is compared with the centroid of every speaker of the batch.

``loss, logits = Ge2e(Ge2eConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)`` for a batch of two
or more crops of each speaker (``sampling.views: 8``).
Wan et al., "Generalized end-to-end loss for speaker verification", arXiv 1710.10467, equations 5 to 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn.losses.margin import WithoutMargin
from speakerlab.nn.losses.views import MIN_SCALE, class_scores, mean_of_others, split_views, twins
from speakerlab.registry import register

# Shorter centroids of unit vectors count as none: two opposite crops would have an unbounded gradient.
MIN_CENTROID = 1e-4


@dataclass(frozen=True)
class Ge2eConfig:
    """Settings of ``ge2e``.

    Attributes:
        variant: softmax over the speakers, or contrast with the hardest wrong one.
    """

    variant: Literal["softmax", "contrast"] = "softmax"


@register("loss")
class Ge2e(WithoutMargin):
    """S = w * cos(e, c) + b of a crop and a centroid; its own centroid leaves the crop out (equation 9).

    Softmax is -S_own + log sum exp S (equation 6), contrast 1 - sigmoid(S_own) + the greatest sigmoid(S) of
    another speaker (equation 7); a speaker drawn twice is no other. The mean over the crops is taken, the
    paper has the sum (equation 10). w and b are trained, from 10 and -5; b cancels in the softmax and exists
    for the contrast only.

    Args:
        config: the variant.
        embed_dim: E of the embeddings; unused, as there are no class weights.
        num_classes: number of training speakers N, the width of the logits.
    """

    Config = Ge2eConfig
    MIN_VIEWS: ClassVar[int] = 2  # crops of each speaker in a batch

    def __init__(self, config: Ge2eConfig, embed_dim: int, num_classes: int) -> None:  # noqa: ARG002
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0)) if config.variant == "contrast" else None

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, E] and labels [B] to the mean loss and S [B, N] with the centroids.

        Raises:
            ValueError: the batch is not blocks of the same speakers.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            views, speakers = split_views(embeddings, labels)
            similarity = self.scale.clamp(min=MIN_SCALE) * _cosines(views)  # [V, S, S]
            rivals = similarity.masked_fill(twins(speakers), float("-inf"))
            loss = self._softmax(rivals) if self.bias is None else self._contrast(rivals + self.bias)
        return loss, class_scores(similarity.flatten(0, 1), speakers, self.num_classes)

    def _softmax(self, similarity: Tensor) -> Tensor:
        own = torch.arange(similarity.shape[1], device=similarity.device).repeat(len(similarity))
        return F.cross_entropy(similarity.flatten(0, 1), own)

    def _contrast(self, similarity: Tensor) -> Tensor:
        probability = torch.sigmoid(similarity)
        own = torch.eye(similarity.shape[1], dtype=torch.bool, device=similarity.device)
        hardest = probability.masked_fill(own, 0.0).amax(-1)
        return (1 - probability.diagonal(dim1=1, dim2=2) + hardest).mean()


def _cosines(views: Tensor) -> Tensor:
    """[V, S, S] of crops [V, S, E]: with every centroid, on the diagonal with that of the other views."""
    unit = F.normalize(views, dim=-1)
    centroids = F.normalize(unit.mean(0), dim=-1, eps=MIN_CENTROID)
    others = F.normalize(mean_of_others(unit), dim=-1, eps=MIN_CENTROID)
    return torch.diagonal_scatter(unit @ centroids.T, (unit * others).sum(-1), dim1=1, dim2=2)
