"""A model in a domain of its user: mean, as-norm cohort and threshold from unlabelled recordings.

It stands in ``bundle.json`` in place of a calibration (``card_entry``), which holds in another domain.
``bundle.load(path).adaptation.norm``; ``bundle.calibrate(path, adaptation)`` stores one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from speakerlab.backend.domain_norm import DomainNorm
from speakerlab.hub import calibration as calibrations
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.conditions import Conditions
from speakerlab.io import array_file

KEY = "adaptation"
FIX = "adapt the model again: speakerlab adapt"


@dataclass(frozen=True, eq=False)
class Adaptation:
    """How a model decides in a domain.

    Attributes:
        norm: from embeddings to scores.
        threshold: the score from which on it is the same speaker.
        false_accept: the share of strangers who were to reach it.
        interval: 95 % interval of the share that does, over people like those of the recordings.
        domain: what speech it is, in one line.
        conditions: the recordings it holds for.
        recordings: the list it was made of.
        num_recordings: how many were used.
        num_people: of how many people, told or guessed.
        calibration: of the scores, where labelled trials were given; its threshold then decides.

    Raises:
        ValueError: a threshold that is not finite.
    """

    norm: DomainNorm
    threshold: float
    false_accept: float
    interval: tuple[float, float]
    domain: str
    conditions: Conditions
    recordings: str
    num_recordings: int
    num_people: int
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"the threshold {self.threshold} must be finite")

    def to_content(self) -> dict[str, Any]:
        """All of it as JSON can hold it, every number exactly."""
        content = {**self.__dict__, "norm": dict(self.norm.__dict__), "conditions": asdict(self.conditions)}
        content["calibration"] = self.calibration and asdict(self.calibration)
        encoded: dict[str, Any] = array_file.encoded(content)
        return encoded


def from_content(content: Mapping[str, Any]) -> Adaptation:
    """The adaptation of which ``to_content`` made ``content``.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: there is none.
    """
    found = {key: array_file.decoded(value) for key, value in content.items()}
    low, high = found["interval"]
    told = found["calibration"]
    parts = {
        "norm": DomainNorm(**found["norm"]),
        "interval": (float(low), float(high)),
        "conditions": Conditions.from_content(found["conditions"]),
        "calibration": told and calibrations.from_content(told),
    }
    return Adaptation(**{**found, **parts})
