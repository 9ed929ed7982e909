"""Additive angular margin softmax (ArcFace) with optional sub-centres and inter-top-k penalty.

``loss, logits = AamSoftmax(AamSoftmaxConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
Deng et al., "ArcFace", arXiv 1801.07698, equation 3; sub-centres: Deng et al., "Sub-center ArcFace", 2020;
inter-top-k: Zhao et al., arXiv 2110.05042 (there with ``sub_centers: 3, hard_classes: 5``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from speakerlab.nn.losses.cosine_classifier import MarginSoftmax, widen_angle
from speakerlab.nn.losses.margin import SmoothedMarginConfig
from speakerlab.registry import register

PENALTY_MARGIN = 0.2  # the margin at which the penalty of hard classes is the configured one


@dataclass(frozen=True)
class AamSoftmaxConfig(SmoothedMarginConfig):
    """Settings of ``aam_softmax``; the margin is in radians.

    Attributes:
        easy_margin: no margin beyond 90 degrees.
        sub_centers: K centres per class, of which the nearest counts.
        hard_classes: k, the nearest wrong classes that are penalised; 0 penalises none.
        hard_penalty: m' in radians by which their angle is narrowed at margin 0.2; it grows with the margin.
    """

    MAX_MARGIN: ClassVar[float] = math.pi / 2
    easy_margin: bool = False
    sub_centers: int = 1
    hard_classes: int = 0
    hard_penalty: float = 0.06

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sub_centers < 1:
            raise ValueError("sub_centers: must be at least 1")
        if self.hard_classes < 0:
            raise ValueError("hard_classes: must not be negative")
        if not 0 <= self.hard_penalty <= PENALTY_MARGIN:
            raise ValueError(f"hard_penalty: must be in [0, {PENALTY_MARGIN}]")


@register("loss")
class AamSoftmax(MarginSoftmax):
    """Cross-entropy of s * cos, where the target's cos(theta) becomes cos(theta + m).

    Beyond 180 degrees see ``widen_angle``. With ``easy_margin``, as in the authors' code, theta >= pi / 2
    keeps its cosine. The k nearest wrong classes become cos(theta - m').

    Args:
        config: margin, scale, sub-centres, inter-top-k.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.

    Raises:
        ValueError: ``hard_classes`` is not below the number of classes.
    """

    Config = AamSoftmaxConfig
    config: AamSoftmaxConfig

    def __init__(self, config: AamSoftmaxConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__(config, embed_dim, num_classes, config.sub_centers)
        if config.hard_classes >= num_classes:
            raise ValueError(f"hard_classes: must be below the {num_classes} classes")

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """See ``MarginSoftmax``."""
        rows = labels[:, None]
        target = cosine.gather(1, rows)
        harder = widen_angle(target, self.margin)
        if self.config.easy_margin:
            harder = torch.where(target > 0, harder, target)
        if self.config.hard_classes:
            cosine = self._penalise(cosine, rows)
        return cosine.scatter(1, rows, harder)

    def _penalise(self, cosine: Tensor, rows: Tensor) -> Tensor:
        """``cosine`` with the angles of the k nearest classes besides the target narrowed."""
        others = cosine.detach().scatter(1, rows, -math.inf)
        hard = others.topk(self.config.hard_classes, dim=1).indices
        penalty = self.config.hard_penalty * self.margin / PENALTY_MARGIN
        return cosine.scatter(1, hard, -widen_angle(-cosine.gather(1, hard), penalty))
