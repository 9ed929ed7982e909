"""Same speaker or not: the threshold in force, the score of the old contract, and when not to decide.

``decide(first, second, threshold_of(model, None))`` -> ``Decision``; numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.errors import SpeakerLabError
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration
from speakerlab.types import SYNTHETIC, Float32Array, Float64Array

if TYPE_CHECKING:
    from speakerlab.embed.speech_check import SpeechCheck
    from speakerlab.embed.waveform_graph import WaveformGraph
    from speakerlab.hub.bundle import Bundle
    from speakerlab.hub.conditions import Conditions
    from speakerlab.pipeline.embedding import Embedded

SAME, DIFFERENT, UNCERTAIN = "Same", "Different", "Uncertain"
TEXTS = {SAME: "yes", DIFFERENT: "no", UNCERTAIN: "uncertain"}  # ModelScope's words
NO_THRESHOLD = "this model has no threshold; calibrate it or give one"
ADAPT = "adapt the model to such recordings: speakerlab adapt"
SYNTHETIC_NOTE = "this model knows synthetic voices only; its scores mean little for people"


@dataclass(frozen=True)
class Threshold:
    """How a model's embeddings are compared, and the score from which on it is the same speaker.

    Attributes:
        score: in [-1, 1] for cosines; None where nobody has said.
        origin: ``given``, ``calibrated`` (on labelled trials), ``adapted`` (to unlabelled recordings),
            ``published`` (with the model) or ``none``.
        model: its ``identity``.
        calibration: from scores to log-likelihood ratios, where the model has it.
        adaptation: from embeddings to scores, where the model is adapted; else scores are cosines.
    """

    score: float | None
    origin: str
    model: Mapping[str, str | None] = field(default_factory=dict)
    calibration: Calibration | None = None
    adaptation: Adaptation | None = None

    def __post_init__(self) -> None:
        if self.origin != "given" or self.score is None:
            return
        if not math.isfinite(self.score):
            raise SpeakerLabError(f"the threshold {self.score:g} is no number")
        if self.adaptation is None and not -1 <= self.score <= 1:
            raise SpeakerLabError(f"the threshold {self.score:g} is no cosine, which lies in -1..1")

    @property
    def conditions(self) -> Conditions | None:
        """The recordings that calibration or adaptation hold for, where they are known."""
        rule = self.adaptation or self.calibration
        return rule.conditions if rule else None

    @property
    def is_synthetic(self) -> bool:
        """Whether the model knows synthetic voices only."""
        return self.model.get("domain") == SYNTHETIC

    def score_matrix(self, first: Float32Array, second: Float32Array) -> Float64Array:
        """Scores, float64 [N, M], of embeddings [N, E] and [M, E] as the network gave them."""
        if self.adaptation is None:
            return np.clip(unit(first) @ unit(second).T, -1.0, 1.0)
        norm = self.adaptation.norm
        return norm.scores(norm.centred(first), norm.centred(second))

    def directions(self, embeddings: Float32Array) -> Float64Array:
        """Directions [N, E] of embeddings, centred as the scores are; their mean is a speaker model."""
        norm = self.adaptation.norm if self.adaptation else None
        return norm.centred(embeddings) if norm else unit(embeddings)

    def score_models(self, models: Float32Array | Float64Array, probe: Float32Array) -> Float64Array:
        """Scores [P] of speaker models [P, E] of ``directions`` and one embedding [E] of the network."""
        if self.adaptation is None:
            return np.asarray(np.clip(unit(models) @ unit(probe[None])[0], -1.0, 1.0))
        norm = self.adaptation.norm
        return np.asarray(norm.scores(unit(models), norm.centred(probe[None]))[:, 0])

    def affine(self, directions: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Gain and bias, [N] each, of ``directions`` [N, E].

        The score of two is their cosine times the sum of their gains, plus the sum of their biases.
        """
        if self.adaptation is not None:
            return self.adaptation.norm.affine(directions)
        return np.full(len(directions), 0.5), np.zeros(len(directions))

    def outside(self, check: SpeechCheck) -> tuple[str, ...]:
        """Why the recording of ``check`` is none that the threshold holds for; empty where it is."""
        return self.conditions.outside(check) if self.conditions else ()

    def as_dict(self) -> dict[str, Any]:
        """Model, domain, calibration and threshold under the names of every answer's JSON."""
        return {
            "threshold": self.score,
            "threshold_origin": self.origin,
            **self.model,
            "calibration": self._calibration_as_dict(),
        }

    def _calibration_as_dict(self) -> dict[str, Any] | None:
        if self.adaptation is not None:
            found = self.adaptation
            return {
                "kind": "adaptation",
                "domain": found.domain,
                "made_of": found.recordings,
                "num_recordings": found.num_recordings,
                "num_people": found.num_people,
                "false_accept": found.false_accept,
                "false_accept_interval": list(found.interval),
                **(_trials_as_dict(self.calibration) if self.calibration else {}),
            }
        if self.calibration is not None:
            known = self.calibration
            return {
                "kind": "trials",
                "domain": known.domain or None,
                "made_of": known.trials,
                **_trials_as_dict(known),
            }
        return None


def _trials_as_dict(calibration: Calibration) -> dict[str, Any]:
    """How many trials a calibration was trained on, and the errors of its threshold on them."""
    return {
        "num_targets": calibration.num_targets,
        "num_nontargets": calibration.num_nontargets,
        "num_misses": calibration.num_misses,
        "num_false_accepts": calibration.num_false_accepts,
        "operating_point": calibration.point_name,
    }


def identity(model: Bundle | WaveformGraph) -> dict[str, str | None]:
    """The model's name, content hash and domain, under the names of every answer's JSON."""
    return {"model": model.name, "model_hash": model.content_hash, "domain": model.domain}


def threshold_of(model: Bundle | WaveformGraph, given: float | None) -> Threshold:
    """``given``, else that of the model's calibration or adaptation, else its publisher's, else none.

    Raises:
        SpeakerLabError: ``given`` is no cosine, or, of an adapted model, not finite.
    """
    rule = model.rule
    adaptation = rule if isinstance(rule, Adaptation) else None
    calibration = rule.calibration if isinstance(rule, Adaptation) else rule
    found = Threshold(None, "none", identity(model), calibration, adaptation)
    if given is not None:
        return replace(found, score=float(given), origin="given")
    if calibration is not None:
        return replace(found, score=calibration.threshold, origin="calibrated")
    if adaptation is not None:
        return replace(found, score=adaptation.threshold, origin="adapted")
    if model.threshold is not None:
        return replace(found, score=float(model.threshold), origin="published")
    return found


@dataclass(frozen=True)
class Decision:
    """The comparison of two recordings.

    Attributes:
        cosine: of the two embeddings, in [-1, 1].
        score: what is compared with the threshold: the cosine, or the score of an adapted model.
        threshold: what it is compared with.
        reasons: why there is no decision; empty where there is one.
        notes: what to know about the decision.
        is_inside: whether both recordings are such as the calibration holds for; None where nobody knows.
    """

    cosine: float
    score: float
    threshold: Threshold
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    is_inside: bool | None = None

    @property
    def label(self) -> str:
        """``Same``, ``Different``, or ``Uncertain`` where there are reasons against a decision."""
        if self.reasons or self.threshold.score is None:
            return UNCERTAIN
        return SAME if self.score >= self.threshold.score else DIFFERENT

    @property
    def scores(self) -> list[float]:
        """[p, 1 - p] for same and different, p = max(s - thr, 0) / (1 - thr); both 0 where uncertain."""
        if self.label == UNCERTAIN or self.threshold.score is None:
            return [0.0, 0.0]
        room = 1 - self.threshold.score
        above = min(max(self.score - self.threshold.score, 0.0), max(room, 0.0))
        mapped = above / room if room > 0 else float(self.label == SAME)
        return [mapped, 1 - mapped]

    @property
    def llr(self) -> float | None:
        """Natural log of the likelihood ratio; None without a calibration, outside of it, or undecided."""
        calibration = self.threshold.calibration
        if calibration is None or self.reasons or self.is_inside is False:
            return None
        return calibration.llr(self.score)

    def as_dict(self) -> dict[str, Any]:
        """Keys of both contracts, FunASR's ``scores label`` and ModelScope's ``score text``, and more."""
        return {
            "scores": self.scores,
            "label": self.label,
            "cosine": self.cosine,
            "score": round(self.score, 5),
            "text": TEXTS[self.label],
            "llr": self.llr,
            "inside_calibration": self.is_inside,
            **self.threshold.as_dict(),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }


def unit(vectors: Float32Array | Float64Array) -> Float64Array:
    """Vectors [N, E] to length 1, float64; zeros stay zeros."""
    wide = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))


def cosine(first: Float32Array, second: Float32Array) -> float:
    """Cosine of two embeddings [E], within [-1, 1] exactly; 0 where one is zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    norm = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / norm)) if norm else 0.0


def judged(
    recordings: dict[str, SpeechCheck], threshold: Threshold
) -> tuple[tuple[str, ...], tuple[str, ...], bool | None]:
    """Reasons against any decision on ``recordings``, notes, and whether the calibration holds for them.

    What lies outside the calibration speaks against its threshold, and not against one that was given.

    Args:
        recordings: what was found in each, by what it is called in messages ("" for a single one).
        threshold: the one in force.
    """
    reasons, outside = [], []
    for place, check in recordings.items():
        prefix = f"{place}: " if place else ""
        reasons += [prefix + why for why in check.reasons]
        outside += [prefix + why for why in threshold.outside(check)]
    is_inside = None if threshold.conditions is None else not outside
    if threshold.is_synthetic:
        is_inside = False
    if threshold.score is None:
        reasons.append(NO_THRESHOLD)
    notes = [SYNTHETIC_NOTE] if threshold.is_synthetic else []
    if outside and threshold.origin in {"calibrated", "adapted"}:
        reasons += [f"{why}; {ADAPT}" for why in outside]
    else:
        notes += outside
    return tuple(reasons), tuple(notes), is_inside


def decide(first: Embedded, second: Embedded, threshold: Threshold) -> Decision:
    """Compare two embeddings, undecided where there are reasons against it, see ``judged``."""
    checks = {"first recording": first.heard.speech, "second recording": second.heard.speech}
    plain = cosine(first.embedding, second.embedding)
    score = plain
    if threshold.adaptation is not None:
        score = float(threshold.score_matrix(first.embedding[None], second.embedding[None])[0, 0])
    return Decision(plain, score, threshold, *judged(checks, threshold))
