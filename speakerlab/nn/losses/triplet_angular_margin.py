"""Triplet loss on cosines with batch-hard mining, absolute bounds, and a classifier beside it.

``loss, logits = TripletAngularMargin(config, embed_dim=192, num_classes=5994)(embeddings, labels)`` for
a batch of two or more crops of each speaker (``sampling.views: 4``).
Batch-hard mining: Hermans et al., arXiv 1703.07737, equation 5; absolute bounds: PaddleClas and mvector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from speakerlab.nn.losses.am_softmax import AmSoftmax, AmSoftmaxConfig
from speakerlab.nn.losses.cosine_classifier import cosines
from speakerlab.nn.losses.margin import SmoothedMarginConfig, WithMargin
from speakerlab.nn.losses.views import class_scores, split_views
from speakerlab.registry import register


@dataclass(frozen=True)
class TripletAngularMarginConfig(SmoothedMarginConfig):
    """Settings of ``triplet_angular_margin``; scale and label smoothing are those of the classifier.

    Attributes:
        margin: by which the cosine with the hardest crop of the speaker must exceed that with any other's.
        positive_floor: cosine that every pair of a speaker should reach.
        negative_ceiling: cosine that no pair of two speakers should exceed.
        absolute_weight: weight of the two bounds; 0 leaves the triplets alone.
        classification_weight: weight of a softmax over scaled cosines; 0 for no classifier.
    """

    MAX_MARGIN: ClassVar[float] = 2.0
    margin: float = 0.5
    positive_floor: float = 0.8
    negative_ceiling: float = 0.4
    absolute_weight: float = 1.0
    classification_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.absolute_weight, self.classification_weight) < 0:
            raise ValueError("absolute_weight, classification_weight: must not be negative")
        if not -1 <= self.negative_ceiling <= self.positive_floor <= 1:
            raise ValueError("-1 <= negative_ceiling <= positive_floor <= 1 must hold")


@register("loss")
class TripletAngularMargin(WithMargin):
    """Mean over the crops of max(0, m - p + n), of the bounds max(0, floor - p) and max(0, n - ceiling).

    p is the least cosine with another crop of the speaker, n the greatest with a crop of another speaker.
    All three are 0 when satisfied. The margin of the schedule is that of the triplets.

    Args:
        config: margin, bounds and weights.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.
    """

    Config = TripletAngularMarginConfig
    MIN_VIEWS: ClassVar[int] = 2  # crops of each speaker in a batch
    config: TripletAngularMarginConfig

    def __init__(self, config: TripletAngularMarginConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__(config)
        self.num_classes = num_classes
        self.classifier: AmSoftmax | None = None
        if config.classification_weight > 0:
            plain = AmSoftmaxConfig(margin=0.0, scale=config.scale, label_smoothing=config.label_smoothing)
            self.classifier = AmSoftmax(plain, embed_dim, num_classes)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, E] and labels [B] to the loss and the classifier's logits [B, N].

        Without a classifier the logits are the cosines with the nearest other crop of each class.

        Raises:
            ValueError: the batch is not blocks of the same speakers.
        """
        split_views(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine = cosines(embeddings, embeddings)
            loss = self._triplets(cosine, labels)
        if self.classifier is None:
            others = cosine.detach().clone().fill_diagonal_(-math.inf)
            return loss, class_scores(others, labels, self.num_classes)
        classification, logits = self.classifier(embeddings, labels)
        return loss + self.config.classification_weight * classification, logits

    def _triplets(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """The three hinges of cosines [B, B]."""
        same = labels[:, None] == labels
        positive = cosine.masked_fill(~same, math.inf).amin(1)  # itself is among them, with 1 never the least
        negative = cosine.masked_fill(same, -math.inf).amax(1)
        hinge = F.relu(self.margin - positive + negative)
        below = F.relu(self.config.positive_floor - positive)
        above = F.relu(negative - self.config.negative_ceiling)
        return (hinge + self.config.absolute_weight * (below + above)).mean()
