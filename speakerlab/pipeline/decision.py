"""Same speaker or not: the threshold in force, the score of the old contract, and when not to decide.

``decide(first, second, threshold_of(model, None))`` -> ``Decision``; numpy only.
"""

from __future__ import annotations

import functools
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.errors import SpeakerLabError
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.embed.waveform_graph import WaveformGraph
    from speakerlab.hub.bundle import Bundle
    from speakerlab.hub.calibration import Calibration
    from speakerlab.pipeline.embedding import Embedded

DEFAULT_THRESHOLD = 0.9465  # FunASR's x-vector, the default of the contract
SAME, DIFFERENT, UNCERTAIN = "Same", "Different", "Uncertain"
TEXTS = {SAME: "yes", DIFFERENT: "no", UNCERTAIN: "uncertain"}  # ModelScope's words


@dataclass(frozen=True)
class Threshold:
    """The cosine from which on it is the same speaker, and who says so.

    Attributes:
        cosine: in [-1, 1].
        origin: ``given``, ``calibrated`` (on trials, with the bundle), ``published`` (with the model) or
            ``default``.
        calibration: the model's, where it has one: it turns cosines into log-likelihood ratios.
    """

    cosine: float
    origin: str
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not -1 <= self.cosine <= 1:
            raise SpeakerLabError(f"the threshold {self.cosine:g} is no cosine, which lies in -1..1")


def threshold_of(model: Bundle | WaveformGraph, given: float | None) -> Threshold:
    """``given``, else the model's calibrated threshold, else its publisher's, else the contract's default.

    Raises:
        SpeakerLabError: it does not lie in -1..1.
    """
    calibration = model.calibration
    if given is not None:
        return Threshold(float(given), "given", calibration)
    if calibration is not None:
        return Threshold(calibration.threshold, "calibrated", calibration)
    if model.threshold is not None:
        return Threshold(float(model.threshold), "published")
    _warn_of_default(model.path)
    return Threshold(DEFAULT_THRESHOLD, "default")


@functools.cache  # once per process and model
def _warn_of_default(path: Path) -> None:
    logging.warning(
        "%s has no threshold of its own: %g, FunASR's for its x-vector, is taken; give sv_threshold",
        path,
        DEFAULT_THRESHOLD,
    )


@dataclass(frozen=True)
class Decision:
    """The comparison of two recordings.

    Attributes:
        cosine: of the two embeddings, in [-1, 1].
        threshold: what it is compared with.
        reasons: why there is no decision; empty where there is one.
    """

    cosine: float
    threshold: Threshold
    reasons: tuple[str, ...]

    @property
    def label(self) -> str:
        """``Same``, ``Different``, or ``Uncertain`` where speech does not suffice."""
        if self.reasons:
            return UNCERTAIN
        return SAME if self.cosine >= self.threshold.cosine else DIFFERENT

    @property
    def scores(self) -> list[float]:
        """[p, 1 - p] for same and different, p = max(cos - thr, 0) / (1 - thr); both 0 where uncertain."""
        if self.reasons:
            return [0.0, 0.0]
        room = 1 - self.threshold.cosine
        above = max(self.cosine - self.threshold.cosine, 0.0)
        mapped = above / room if room else float(self.cosine >= 1)
        return [mapped, 1 - mapped]

    @property
    def llr(self) -> float | None:
        """Natural log of the likelihood ratio, where the model is calibrated."""
        calibration = self.threshold.calibration
        return calibration.llr(self.cosine) if calibration else None

    def as_dict(self) -> dict[str, Any]:
        """Keys of both contracts, FunASR's ``scores label`` and ModelScope's ``score text``, and more."""
        return {
            "scores": self.scores,
            "label": self.label,
            "cosine": self.cosine,
            "score": round(self.cosine, 5),
            "text": TEXTS[self.label],
            "llr": self.llr,
            "threshold": self.threshold.cosine,
            "threshold_origin": self.threshold.origin,
            "reasons": list(self.reasons),
        }


def cosine(first: Float32Array, second: Float32Array) -> float:
    """Cosine of two embeddings [E], within [-1, 1] exactly; 0 where one is zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    norm = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / norm)) if norm else 0.0


def decide(first: Embedded, second: Embedded, threshold: Threshold) -> Decision:
    """Compare two embeddings, undecided where either recording gives reasons against it."""
    reasons = [
        f"{place} recording: {why}"
        for place, embedded in (("first", first), ("second", second))
        for why in embedded.heard.speech.reasons
    ]
    return Decision(cosine(first.embedding, second.embedding), threshold, tuple(reasons))
