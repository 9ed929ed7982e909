"""SphereFace2: one binary classifier per speaker instead of a softmax over all.

``loss, logits = SphereFace2(SphereFace2Config(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
Wen et al., "SphereFace2", arXiv 2108.01513; for speakers: Han et al., "Exploring Binary Classification
Loss for Speaker Verification", 2023, whose settings are the defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn.losses.cosine_classifier import CosineClassifier, widen_angle
from speakerlab.nn.losses.margin import MarginConfig
from speakerlab.registry import register


@dataclass(frozen=True)
class SphereFace2Config(MarginConfig):
    """Settings of ``sphereface2``.

    Attributes:
        margin_type: C takes the margin from the (sharpened) cosine, A adds it to the angle in radians.
        positive_weight: lambda, the weight of the speaker's own classifier; 1 - lambda of all others.
        exponent: t, how much g spreads the high cosines.
    """

    margin_type: Literal["A", "C"] = "C"
    positive_weight: float = 0.7
    exponent: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.positive_weight < 1:
            raise ValueError("positive_weight: must be between 0 and 1")
        if self.exponent < 1:
            raise ValueError("exponent: must be at least 1")


@register("loss")
class SphereFace2(CosineClassifier):
    """lambda softplus(-(s p + b)) + (1 - lambda) sum over j != y of softplus(s n_j + b).

    With g(z) = 2 ((z + 1) / 2)^t - 1: type C has p = g(cos_y) - m and n = g(cos_j) + m, type A has
    p = g(cos(min(theta_y + m, pi))) and n = g(cos(max(theta_j - m, 0))). The paper divides the loss by s.
    The bias b is a parameter of the loss and trained. It starts where a speaker's own classifier and all
    others pull equally as long as every angle is 90 degrees.

    Args:
        config: margin, its type, scale, weights.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N, at least 2.
    """

    Config = SphereFace2Config
    config: SphereFace2Config

    def __init__(self, config: SphereFace2Config, embed_dim: int, num_classes: int) -> None:
        super().__init__(config, embed_dim, num_classes)
        odds = config.positive_weight / ((1 - config.positive_weight) * max(num_classes - 1, 1))
        at_90_degrees = 2 * 0.5**config.exponent - 1
        self.bias = nn.Parameter(torch.tensor(math.log(odds) - config.scale * at_90_degrees))

    def criterion(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """See ``CosineClassifier``."""
        positive, negative = self._with_margin(cosine)
        own = F.one_hot(labels, cosine.shape[1]).bool()
        scale, weight = self.config.scale, self.config.positive_weight
        attract = weight * F.softplus(-(scale * positive + self.bias))
        repel = (1 - weight) * F.softplus(scale * negative + self.bias)
        return torch.where(own, attract, repel).sum(1).mean()

    def _with_margin(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """For every class, p and n of the class docstring."""
        if self.config.margin_type == "A":
            widened = widen_angle(cosine, self.margin).clamp(min=-1.0)
            narrowed = -widen_angle(-cosine, self.margin).clamp(min=-1.0)
            return self._sharpen(widened), self._sharpen(narrowed)
        sharpened = self._sharpen(cosine)
        return sharpened - self.margin, sharpened + self.margin

    def _sharpen(self, cosine: Tensor) -> Tensor:
        """The g of the class docstring."""
        return 2 * ((cosine + 1) / 2) ** self.config.exponent - 1
