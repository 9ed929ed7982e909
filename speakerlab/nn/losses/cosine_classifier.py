"""Base of the losses that compare an embedding with a trained centre of every class by the cosine.

A loss derives from ``CosineClassifier`` and says in ``criterion`` what becomes of the cosines [B, N], or from
``MarginSoftmax`` and says in ``with_margin`` how they change before a cross-entropy:
``loss, logits = AmSoftmax(AmSoftmaxConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn.losses.margin import MarginConfig, SmoothedMarginConfig, WithMargin

# Floor of sin^2: far below any value but 0, whose root would have an infinite gradient.
FLOOR = 1e-30


class CosineClassifier(WithMargin, ABC):
    """Centres of all classes, the cosines with them, and the margin of the moment.

    All is computed in float32 (float64 for float64 embeddings), under autocast too. ``weight`` [N * K, E]
    holds the K centres of class n in rows n * K to n * K + K - 1.

    Args:
        config: margin and scale.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.
        sub_centers: K centres per class, of which the nearest counts.
    """

    def __init__(self, config: MarginConfig, embed_dim: int, num_classes: int, sub_centers: int = 1) -> None:
        super().__init__(config)
        self._sub_centers = sub_centers
        self.weight = nn.Parameter(torch.empty(num_classes * sub_centers, embed_dim))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, E] and int64 labels [B] to the mean loss (scalar) and s * cos [B, N].

        The logits carry no margin: their argmax is the classifier's decision.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine = self._cosines(embeddings)
            return self.criterion(cosine, labels), self.config.scale * cosine

    @abstractmethod
    def criterion(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of cosines [B, N] and labels [B]."""

    def _cosines(self, embeddings: Tensor) -> Tensor:
        """[B, N]: cosines with the nearest centre of each class."""
        cosine = cosines(embeddings, self.weight)
        if self._sub_centers > 1:
            cosine = cosine.view(len(cosine), -1, self._sub_centers).amax(-1)
        return cosine


class MarginSoftmax(CosineClassifier):
    """Cross-entropy of s * cos, where ``with_margin`` has made the cosines harder."""

    config: SmoothedMarginConfig

    def criterion(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """See ``CosineClassifier``."""
        logits = self.config.scale * self.with_margin(cosine, labels)
        return F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)

    @abstractmethod
    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Cosines [B, N] as the softmax sees them in training."""


def cosines(embeddings: Tensor, centers: Tensor) -> Tensor:
    """[B, N] of [B, E] and [N, E], float32 at least, rounding above 1 cut off."""
    dtype = torch.promote_types(embeddings.dtype, torch.float32)
    cosine = F.linear(F.normalize(embeddings.to(dtype)), F.normalize(centers.to(dtype)))
    return cosine.clamp(-1.0, 1.0)


def widen_angle(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta + m) of cos(theta), made decreasing in theta up to 180 degrees; m in radians.

    Beyond pi - m, cos(theta + m) would rise again; there it is cos(theta) - (1 - cos m), the function of
    slope 1 in the cosine that meets cos(theta + m) = -1 at pi - m. (The code of ArcFace's authors subtracts
    m sin m instead: decreasing too, but with a jump.) sin(theta) is sqrt((1 - cos) (1 + cos)), exact to
    rounding; where cos is +-1 it is 0 with gradient 0. A narrower angle is ``-widen_angle(-cosine, m)``.
    """
    cos_m, sin_m = math.cos(margin), math.sin(margin)
    sine = ((1.0 - cosine) * (1.0 + cosine)).clamp(min=FLOOR).sqrt()
    return torch.where(cosine >= -cos_m, cosine * cos_m - sine * sin_m, cosine - (1.0 - cos_m))
