"""Linear classifier with cross-entropy: the plain softmax loss.

``loss, logits = Softmax(SoftmaxConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.nn.losses.margin import WithoutMargin
from speakerlab.registry import register


@dataclass(frozen=True)
class SoftmaxConfig:
    """Settings of ``softmax``.

    Attributes:
        label_smoothing: share of the target's probability spread over all classes.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError("label_smoothing: must be in [0, 1)")


@register("loss")
class Softmax(WithoutMargin):
    """Cross-entropy of W x + b.

    Args:
        config: label smoothing.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.
    """

    Config = SoftmaxConfig

    def __init__(self, config: SoftmaxConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing
        self.linear = nn.Linear(embed_dim, num_classes)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, E] and int64 labels [B] to the mean loss (scalar) and logits [B, N]."""
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.linear(embeddings.to(self.linear.weight.dtype))
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits
