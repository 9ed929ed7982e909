"""The calibration of a model: from the score of two embeddings to a log-likelihood ratio and a decision.

It stands in ``bundle.json`` (``card_entry``) and travels with weights and settings.
``bundle.load(path).calibration.threshold``; ``bundle.calibrate(path, calibration)`` stores one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from speakerlab.hub.conditions import Conditions
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.types import ScoreTable

KEY = "calibration"
FIX = "calibrate the model again: steps/calibrate_model.sh"


@dataclass(frozen=True, slots=True)
class Calibration:
    """LLR = ``scale`` * score + ``offset``; the score is the cosine of plain embeddings, or an adaptation's.

    Attributes:
        scale: positive.
        offset: natural log.
        point_name: what ``point`` is called, such as ``voxceleb``.
        point: prior and costs that the threshold is for.
        prior: effective prior of a target in training, see ``speakerlab.backend.calibration``.
        trials: the list it was trained on.
        num_targets: target trials of that list.
        num_nontargets: its non-target trials.
        domain: what speech that was, in one line; empty where it is not known.
        conditions: the recordings it holds for; None where they are not known.
        num_misses: target trials below the threshold; None where nobody counted.
        num_false_accepts: non-target trials that reach it.

    Raises:
        ValueError: a number that is not finite, a scale that is not positive.
    """

    scale: float
    offset: float
    point_name: str
    point: OperatingPoint
    prior: float
    trials: str
    num_targets: int
    num_nontargets: int
    domain: str = ""
    conditions: Conditions | None = None
    num_misses: int | None = None
    num_false_accepts: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise ValueError(f"scale {self.scale} and offset {self.offset} must be finite")
        if self.scale <= 0:
            raise ValueError(f"scale {self.scale:g}: a higher cosine would speak against the same speaker")

    @property
    def threshold(self) -> float:
        """The score whose LLR is the Bayes threshold of ``point``: from there on accepting costs less."""
        return (self.point.bayes_threshold - self.offset) / self.scale

    def counted(self, trained_on: ScoreTable) -> Calibration:
        """The same with its errors on the labelled trials that it was trained on."""
        is_accepted = trained_on.scores >= self.threshold
        is_target = trained_on.trials.labels == 1
        return replace(
            self,
            num_misses=int((~is_accepted & is_target).sum()),
            num_false_accepts=int((is_accepted & ~is_target).sum()),
        )

    def require_threshold(self, low: float, high: float) -> None:
        """Check that scores, which lie in ``low`` to ``high``, can be decided both ways.

        Raises:
            ValueError: the threshold lies elsewhere.
        """
        if not low <= self.threshold <= high:
            raise ValueError(
                f"threshold {self.threshold:.3f} at {self.point_name} ({self.point}) is no score of two "
                f"recordings, which lie in {low:.3g} to {high:.3g}: all would be decided alike"
            )

    def llr(self, score: float) -> float:
        """Log-likelihood ratio of a score, natural log."""
        return self.scale * score + self.offset


def from_content(content: Mapping[str, Any]) -> Calibration:
    """The calibration of which ``dataclasses.asdict`` made ``content``, in JSON or out of it.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: there is none.
    """
    known = content.get("conditions")
    conditions = known and Conditions.from_content(known)
    return Calibration(**{**content, "point": OperatingPoint(**content["point"]), "conditions": conditions})
