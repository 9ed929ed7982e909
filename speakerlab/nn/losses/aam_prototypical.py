"""Additive angular margin softmax plus the angular prototypical loss between the crops of each speaker.

``loss, logits = AamPrototypical(config, embed_dim=192, num_classes=5994)(embeddings, labels)`` for a batch
of two or more crops of each speaker (``sampling.views: 2``). See ``aam_softmax`` and ``prototypical``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from speakerlab.nn.losses.aam_softmax import AamSoftmax, AamSoftmaxConfig
from speakerlab.nn.losses.prototypical import compare_views
from speakerlab.registry import register


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
    """``AamSoftmax`` plus ``prototypical_weight`` times the loss of ``Prototypical``.

    Args:
        config: settings of both terms.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.
    """

    Config = AamPrototypicalConfig
    MIN_VIEWS: ClassVar[int] = 2  # crops of each speaker in a batch
    config: AamPrototypicalConfig

    def __init__(self, config: AamPrototypicalConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__(config, embed_dim, num_classes)
        self.pair_scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As ``AamSoftmax.forward``.

        Raises:
            ValueError: the batch is not blocks of the same speakers.
        """
        loss, logits = super().forward(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            pairs, _, _ = compare_views(embeddings, labels, self.pair_scale)
        return loss + self.config.prototypical_weight * pairs, logits
