"""Additive angular margin softmax plus the angular prototypical loss between two crops of each speaker.

``loss, logits = AamPrototypical(config, embed_dim=192, num_classes=5994)(embeddings, labels)`` for a batch
of two halves that hold the same speakers in the same order (``sampling.views: 2``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn.losses.aam_softmax import AamSoftmax, AamSoftmaxConfig
from speakerlab.registry import register

MIN_SCALE = 1e-3  # w of the paper must stay positive


@dataclass(frozen=True)
class AamPrototypicalConfig(AamSoftmaxConfig):
    """Settings of ``aam_prototypical``: those of ``aam_softmax``, and the weight of the second term."""

    prototypical_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prototypical_weight < 0:
            raise ValueError("prototypical_weight: must not be negative")


@register("loss")
class AamPrototypical(AamSoftmax):
    """``AamSoftmax`` plus cross-entropy of w * cos between the two halves of a batch, both ways.

    Row i of one half must find row i of the other among all its rows; rows of the same class elsewhere
    are no errors and left out. w is trained, from 10; the bias of the paper cancels in the softmax.

    Args:
        config: settings of both terms.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.
    """

    Config = AamPrototypicalConfig

    def __init__(self, config: AamPrototypicalConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__(config, embed_dim, num_classes)
        self._prototypical_weight = config.prototypical_weight
        self.pair_scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As ``AamSoftmax.forward``; the batch is [crops of B/2 speakers ; other crops of the same].

        Raises:
            ValueError: the two halves are not of the same speakers.
        """
        half = len(labels) // 2
        if not torch.equal(labels[:half], labels[half:]):
            raise ValueError("the batch has no pairs of crops; set sampling.views: 2")
        loss, logits = super().forward(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = F.normalize(embeddings.to(self.pair_scale.dtype))
            similarity = self.pair_scale.clamp(min=MIN_SCALE) * unit[:half] @ unit[half:].T
            twins = labels[:half, None] == labels[None, half:]
            twins.fill_diagonal_(fill_value=False)
            similarity = similarity.masked_fill(twins, float("-inf"))
            own = torch.arange(half, device=labels.device)
            pairs = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2
        return loss + self._prototypical_weight * pairs, logits
