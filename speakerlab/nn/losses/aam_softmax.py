"""Additive angular margin softmax (ArcFace) with optional sub-centres.

``loss, logits = AamSoftmax(AamSoftmaxConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
Deng et al., "ArcFace", arXiv 1801.07698, equation 3; sub-centres: Deng et al., "Sub-center ArcFace", 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speakerlab.registry import register

# Floor of sin^2: far below any value but 0, whose root would have an infinite gradient.
FLOOR = 1e-30


@dataclass(frozen=True)
class AamSoftmaxConfig:
    """Settings of ``aam_softmax``.

    Attributes:
        margin: m in radians, added to the angle between an embedding and its class.
        scale: s, the factor of all cosines.
        easy_margin: no margin beyond 90 degrees.
        sub_centers: K centres per class, of which the nearest counts.
        label_smoothing: share of the target's probability spread over all classes.
    """

    margin: float = 0.2
    scale: float = 32.0
    easy_margin: bool = False
    sub_centers: int = 1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_margin(self.margin)
        if self.scale <= 0:
            raise ValueError("scale: must be positive")
        if self.sub_centers < 1:
            raise ValueError("sub_centers: must be at least 1")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError("label_smoothing: must be in [0, 1)")


@register("loss")
class AamSoftmax(nn.Module):
    """Cross-entropy of s * cos, where the target's cos(theta) becomes f(theta).

    f = cos(theta + m) for theta <= pi - m. Beyond, cos(theta + m) would rise again; there f =
    cos(theta) - (1 - cos m), the decreasing function of slope 1 in the cosine that meets cos(theta + m)
    = -1 at pi - m. (The authors' code subtracts m sin m instead: decreasing too, but with a jump.) With
    ``easy_margin``, as in that code, f = cos(theta + m) for theta < pi / 2 and cos(theta) from there on.

    sin(theta) is sqrt((1 - cos) (1 + cos)), exact to rounding; where cos is +-1 it is 0 with gradient 0.
    All in float32 (float64 for float64 embeddings), under autocast too. ``weight`` [N * K, E] holds the
    K centres of class n in rows n * K to n * K + K - 1.

    Args:
        config: margin, scale, sub-centres.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.
    """

    Config = AamSoftmaxConfig

    def __init__(self, config: AamSoftmaxConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(num_classes * config.sub_centers, embed_dim))
        nn.init.xavier_uniform_(self.weight)
        self.set_margin(config.margin)

    def set_margin(self, margin: float) -> None:
        """Use ``margin`` radians from now on; the training schedule calls this every step.

        Raises:
            ValueError: not in [0, pi / 2].
        """
        _check_margin(margin)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, E] and int64 labels [B] to the mean loss (scalar) and s * cos [B, N].

        The logits carry no margin: their argmax is the classifier's decision.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine = self._cosines(embeddings)
            target = cosine.gather(1, labels[:, None])
            logits = self.config.scale * cosine
            shifted = logits.scatter(1, labels[:, None], self.config.scale * self._add_margin(target))
            loss = F.cross_entropy(shifted, labels, label_smoothing=self.config.label_smoothing)
        return loss, logits

    def _cosines(self, embeddings: Tensor) -> Tensor:
        """[B, N]: cosines with the nearest centre of each class, rounding above 1 cut off."""
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        centers = F.normalize(self.weight.to(dtype))
        cosine = F.linear(F.normalize(embeddings.to(dtype)), centers)
        if self.config.sub_centers > 1:
            cosine = cosine.view(len(cosine), -1, self.config.sub_centers).amax(-1)
        return cosine.clamp(-1.0, 1.0)

    def _add_margin(self, cosine: Tensor) -> Tensor:
        """f(theta) of the class docstring, from cos(theta)."""
        cos_m, sin_m = math.cos(self.margin), math.sin(self.margin)
        sine = ((1.0 - cosine) * (1.0 + cosine)).clamp(min=FLOOR).sqrt()
        shifted = cosine * cos_m - sine * sin_m
        if self.config.easy_margin:
            return torch.where(cosine > 0, shifted, cosine)
        return torch.where(cosine >= -cos_m, shifted, cosine - (1.0 - cos_m))


def _check_margin(margin: float) -> None:
    if not 0 <= margin <= math.pi / 2:
        raise ValueError("margin: must be in [0, pi / 2] radians")
