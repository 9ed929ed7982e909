"""Real additive margin softmax: a class that the target leads by the margin pulls no more.

``loss, logits = ArmSoftmax(ArmSoftmaxConfig(), embed_dim=192, num_classes=5994)(embeddings, labels)``.
Li, Nai and Wang, "Real Additive Margin Softmax for Speaker Verification", arXiv 2110.09116.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from speakerlab.nn.losses.cosine_classifier import CosineClassifier
from speakerlab.nn.losses.margin import MarginConfig
from speakerlab.registry import register


@dataclass(frozen=True)
class ArmSoftmaxConfig(MarginConfig):
    """Settings of ``arm_softmax``: margin (of the cosine) and scale.

    There is no label smoothing: no class may be pushed up once the margin is kept.
    """


@register("loss")
class ArmSoftmax(CosineClassifier):
    """log(1 + sum over j != y of exp(max(0, s (cos_j - cos_y + m)))), the mean over the batch.

    ``am_softmax`` is the same without the max: there every class counts for ever, and the margin is little
    more than a factor e^(s m) of the sum. Here a class that keeps the margin adds the constant e^0, so the
    loss of a perfect classifier is log N, and margin 0 is not the plain softmax. (The code in circulation
    puts 0 in place of s cos_j instead of in place of the difference, which pushes easy classes above a
    target whose cosine is negative.)
    """

    Config = ArmSoftmaxConfig

    def criterion(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """See ``CosineClassifier``: cross-entropy with the hinges as logits and 0 for the target."""
        target = cosine.gather(1, labels[:, None])
        hinge = F.relu(cosine - target + self.margin).scatter(1, labels[:, None], 0.0)
        return F.cross_entropy(self.config.scale * hinge, labels)
