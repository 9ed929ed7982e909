"""Additive margin softmax (CosFace): the target's cosine must lead by a margin.

``loss, logits = AmSoftmax(AmSoftmaxConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
Wang et al., "CosFace", arXiv 1801.09414, equation 4; and, under the name of AM-softmax, arXiv 1801.05599.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speakerlab.nn.losses.cosine_classifier import MarginSoftmax
from speakerlab.nn.losses.margin import SmoothedMarginConfig
from speakerlab.registry import register


@dataclass(frozen=True)
class AmSoftmaxConfig(SmoothedMarginConfig):
    """Settings of ``am_softmax``: margin (of the cosine), scale, label smoothing."""


@register("loss")
class AmSoftmax(MarginSoftmax):
    """Cross-entropy of s * cos, where the target's cos(theta) becomes cos(theta) - m."""

    Config = AmSoftmaxConfig

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """See ``MarginSoftmax``."""
        target = cosine.gather(1, labels[:, None])
        return cosine.scatter(1, labels[:, None], target - self.margin)
