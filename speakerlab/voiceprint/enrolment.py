"""From recordings that were listened to, to the store, through the gates.

``enrol(store, heard, threshold, Gates(), Person(name="Ann"))`` -> an ``Enrolled``: what was written, and what
the gates found. Clips that a gate stops go to the review list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from speakerlab.hub import rule
from speakerlab.types import Float32Array
from speakerlab.voiceprint import gates as gating
from speakerlab.voiceprint.gates import Finding, Gates
from speakerlab.voiceprint.records import ENROLLED, Consent, Enrolment, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

if TYPE_CHECKING:
    from speakerlab.pipeline.decision import Threshold
    from speakerlab.pipeline.embedding import Embedded

# from embeddings [N, E] of one speaker to mean scores by speaker id, of those who score highest at least
Nearest: TypeAlias = Callable[[Float32Array], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Person:
    """Who is enrolled.

    Attributes:
        name: the speaker, who is made where there is none of that name.
        speaker_id: or the speaker's id.
        consent: what allows it.
        galleries: which to join.
        audio: name of each kept recording; empty where none is kept.
    """

    name: str | None = None
    speaker_id: str | None = None
    consent: Consent | None = None
    galleries: Sequence[str] = ()
    audio: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An enrolment and what the gates found; ``enrolment.state`` is ``review`` where one stopped it."""

    enrolment: Enrolment
    findings: tuple[Finding, ...]


def voiceprint(
    heard: Embedded, threshold: Threshold, consent: Consent | None = None, audio: str | None = None
) -> Voiceprint:
    """What is kept of a recording.

    Args:
        heard: the recording.
        threshold: of the model, which it names.
        consent: what allows it.
        audio: name of the kept recording.
    """
    decides = threshold.adaptation or threshold.calibration
    return Voiceprint(
        heard.embedding,
        str(threshold.model["model_hash"]),
        heard.heard.origin,
        heard.heard.speech.speech_s,
        str(threshold.model["model"]),
        (*heard.heard.speech.reasons, *threshold.outside(heard.heard.speech)),
        rule.identity(decides) if decides else None,
        consent,
        audio,
    )


def enrol(
    store: VoiceprintStore,
    heard: Sequence[Embedded],
    threshold: Threshold,
    gates: Gates,
    person: Person,
    nearest: Nearest | None = None,
) -> Enrolled:
    """Enrol recordings of one speaker, all or none, or put them on the review list.

    Args:
        store: where.
        heard: the recordings.
        threshold: of the model.
        gates: what they must pass.
        person: who it is.
        nearest: a search of the store; without one, all speakers are compared.

    Raises:
        DataError: as ``VoiceprintStore.enrol``.
    """
    stems: Sequence[str | None] = person.audio or [None] * len(heard)
    clips = [voiceprint(one, threshold, person.consent, stem) for one, stem in zip(heard, stems, strict=True)]
    found = examine(store, heard, threshold, gates, person, nearest)
    done = store.enrol(
        clips,
        name=person.name,
        speaker_id=person.speaker_id,
        galleries=person.galleries,
        review=[finding.why for finding in found if finding.blocks],
    )
    return Enrolled(done, found)


def examine(
    store: VoiceprintStore,
    heard: Sequence[Embedded],
    threshold: Threshold,
    gates: Gates,
    person: Person,
    nearest: Nearest | None = None,
) -> tuple[Finding, ...]:
    """What ``gates`` find in recordings, before anything is written; arguments as of ``enrol``.

    Raises:
        DataError: no such speaker; a name that cannot be one.
    """
    if not heard:
        return ()
    name = person.name
    speaker = store.find(name) if name is not None else store.speaker(str(person.speaker_id))
    own = speaker.speaker_id if speaker else None
    embeddings = np.stack([one.embedding for one in heard])
    known: dict[str, float] = {}
    if gates.duplicates != gating.OFF and threshold.score is not None:
        near = nearest(embeddings) if nearest else _scores(store, threshold, embeddings)
        reached = {one: score for one, score in near.items() if score >= threshold.score and one != own}
        best = sorted(reached, key=lambda one: -reached[one])[: gating.NAMED]
        known = {store.speaker(one).name: reached[one] for one in best}
    checks = [one.heard.speech for one in heard]
    model = str(threshold.model["model_hash"])
    clips = store.clips(own, ENROLLED) if own else []
    there = [one.voiceprint for one in clips if one.voiceprint.model == model]
    everything = np.stack([*embeddings, *(one.embedding for one in there)])
    scores = threshold.score_matrix(embeddings, everything)
    enrolled_s = sum(one.speech_s or 0.0 for one in there)
    return gating.findings(gates, checks, scores, known, threshold.score, enrolled_s)


def _scores(store: VoiceprintStore, threshold: Threshold, embeddings: Float32Array) -> dict[str, float]:
    """Mean score of ``embeddings`` with each speaker."""
    models = store.models(str(threshold.model["model_hash"]), threshold.directions)
    if not models.ids:
        return {}
    scores = np.mean([threshold.score_models(models.matrix, one) for one in embeddings], axis=0)
    return dict(zip(models.ids, scores.tolist(), strict=True))
