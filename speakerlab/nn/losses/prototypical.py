"""Angular prototypical loss: each crop must find the mean of its speaker's other crops.

``loss, logits = Prototypical(config, embed_dim=192, num_classes=5994)(embeddings, labels)`` for a batch
of two or more crops of each speaker (``sampling.views: 2``).
Chung et al., "In defence of metric learning for speaker recognition", arXiv 2003.11982, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn.losses.cosine_classifier import cosines
from speakerlab.nn.losses.margin import WithoutMargin
from speakerlab.nn.losses.views import MIN_SCALE, class_scores, mean_of_others, split_views, twins
from speakerlab.registry import register


@dataclass(frozen=True)
class PrototypicalConfig:
    """``prototypical`` has no settings."""


@register("loss")
class Prototypical(WithoutMargin):
    """Cross-entropy of w * cos between a crop and the prototypes of the batch's speakers.

    A prototype is the mean of a speaker's embeddings in the other views. The paper makes the last view the
    query; here each view is, in turn. w is trained, from 10; the bias of the paper cancels in the softmax.

    Args:
        config: nothing.
        embed_dim: E of the embeddings; unused, as there are no class weights.
        num_classes: number of training speakers N, the width of the logits.
    """

    Config = PrototypicalConfig
    MIN_VIEWS: ClassVar[int] = 2  # crops of each speaker in a batch

    def __init__(self, config: PrototypicalConfig, embed_dim: int, num_classes: int) -> None:  # noqa: ARG002
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, E] and labels [B] to the mean loss and w * cos [B, N] with the prototypes.

        Raises:
            ValueError: the batch is not blocks of the same speakers.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            loss, similarity, speakers = compare_views(embeddings, labels, self.scale)
        return loss, class_scores(similarity, speakers, self.num_classes)


def compare_views(embeddings: Tensor, labels: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of ``Prototypical`` for a factor w, its similarities [B, S] and the speakers [S].

    Row i must find column i of its block; columns of the same speaker elsewhere are left out.

    Raises:
        ValueError: the batch is not blocks of the same speakers.
    """
    views, speakers = split_views(embeddings, labels)
    prototypes = mean_of_others(views)
    cosine = torch.stack([cosines(view, others) for view, others in zip(views, prototypes, strict=True)])
    similarity = scale.clamp(min=MIN_SCALE) * cosine
    rivals = similarity.masked_fill(twins(speakers), float("-inf")).flatten(0, 1)
    own = torch.arange(len(speakers), device=labels.device).repeat(len(views))
    return F.cross_entropy(rivals, own), similarity.flatten(0, 1), speakers
