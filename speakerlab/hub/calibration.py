"""The calibration of a bundle: from the cosine of two embeddings to a log-likelihood ratio and a decision.

It stands in ``bundle.json``, under its own hash and beside the hash of the weights and settings it was made
for: it travels with them, and is refused where it was changed or belongs to another model.
``bundle.load(path).calibration.threshold``; ``bundle.calibrate(path, calibration)`` stores one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speakerlab.errors import DataError
from speakerlab.metrics.operating_points import OperatingPoint

KEY = "calibration"


@dataclass(frozen=True, slots=True)
class Calibration:
    """LLR = ``scale`` * cosine + ``offset``, of a model's plain embeddings (no mean subtracted).

    Attributes:
        scale: positive.
        offset: natural log.
        point_name: what ``point`` is called, such as ``voxceleb``.
        point: prior and costs that the threshold is for.
        prior: effective prior of a target in training, see ``speakerlab.backend.calibration``.
        trials: the list it was trained on.
        num_targets: target trials of that list.
        num_nontargets: its non-target trials.

    Raises:
        ValueError: a number that is not finite, a scale that is not positive, a threshold that is no cosine.
    """

    scale: float
    offset: float
    point_name: str
    point: OperatingPoint
    prior: float
    trials: str
    num_targets: int
    num_nontargets: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise ValueError(f"scale {self.scale} and offset {self.offset} must be finite")
        if self.scale <= 0:
            raise ValueError(f"scale {self.scale:g}: a higher cosine would speak against the same speaker")
        if not -1 <= self.threshold <= 1:
            raise ValueError(
                f"threshold {self.threshold:.3f} at {self.point_name} ({self.point}) is no cosine: "
                f"no pair of recordings could be decided both ways there"
            )

    @property
    def threshold(self) -> float:
        """The cosine whose LLR is the Bayes threshold of ``point``: from there on accepting costs less."""
        return (self.point.bayes_threshold - self.offset) / self.scale

    def llr(self, cosine: float) -> float:
        """Log-likelihood ratio of a cosine, natural log."""
        return self.scale * cosine + self.offset


def from_content(content: Mapping[str, Any]) -> Calibration:
    """The calibration of which ``dataclasses.asdict`` made ``content``.

    Raises:
        KeyError, TypeError, ValueError: there is none.
    """
    return Calibration(**{**content, "point": OperatingPoint(**content["point"])})


def to_card(calibration: Calibration, model: str) -> dict[str, Any]:
    """The entry of a card for the model whose content hash is ``model``."""
    content = {"model": model, **asdict(calibration)}
    return {**content, "sha256": _digest(content)}


def from_card(entry: Any, model: str, path: Path) -> Calibration:
    """What ``to_card`` made of a calibration for the model whose content hash is ``model``.

    Raises:
        DataError: the entry was changed, or was made for another model; ``path`` is the card.
    """
    fix = "calibrate the model again: steps/calibrate_model.sh"
    try:
        content = {key: value for key, value in entry.items() if key != "sha256"}
        intact = entry["sha256"] == _digest(content)
        made_for = content.pop("model")
        calibration = from_content(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"its calibration is damaged ({error})", fix) from error
    if not intact:
        raise DataError(path, "its calibration does not match its hash", fix)
    if made_for != model:
        raise DataError(path, "its calibration was made for another model", fix)
    return calibration


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
