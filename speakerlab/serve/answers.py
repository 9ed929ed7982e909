"""What the API answers, as pydantic models: the OpenAPI page is made of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from speakerlab.pipeline.decision import SAME, Decision, Threshold
from speakerlab.pipeline.embedding import Embedded
from speakerlab.serve.people import Candidate
from speakerlab.voiceprint.records import Clip, Speaker


class Problem(BaseModel):
    """Why a request failed."""

    error: str = Field(description="a short code", examples=["too_little_speech"])
    message: str = Field(description="what is wrong and what to do, in one line")


class Heard(BaseModel):
    """What was found in a recording."""

    duration_s: float
    speech_s: float | None = Field(description="net seconds of speech")
    level_db: float | None = Field(description="RMS of the loud frames, dB over full scale")
    clipped: float | None = Field(description="share of the samples in flat tops")
    bandwidth_hz: float | None = Field(description="how far the spectrum reaches; about 4000 for telephones")
    sample_rate: int | None
    channel: int | None = Field(description="the one that was listened to, from 0")
    num_channels: int | None
    reasons: list[str] = Field(description="why no decision rests on it; empty where one may")

    @classmethod
    def of(cls, found: Embedded) -> Heard:
        """Of one recording."""
        told = found.heard.as_dict()
        return cls(
            **{key: told[key] for key in cls.model_fields if key in told},
            reasons=list(found.heard.speech.reasons),
        )


class Rule(BaseModel):
    """What a decision rests on."""

    model: str | None
    model_hash: str | None
    domain: str | None = Field(description="the speech that the model was trained on")
    threshold: float | None
    threshold_origin: str = Field(description="given, calibrated, adapted, published or none")
    calibration: dict[str, Any] | None = Field(description="what the scores were calibrated or adapted on")
    inside_calibration: bool | None = Field(description="null where nobody knows")
    reasons: list[str] = Field(description="why there is no decision; empty where there is one")
    notes: list[str]


class Verification(Rule):
    """Whether two recordings, or a recording and a speaker, are of one person."""

    accepted: bool
    decision: str = Field(description="same, different or uncertain")
    score: float
    llr: float | None = Field(description="natural log of the likelihood ratio, where it is calibrated")
    margin: float | None = Field(description="score less threshold")
    recordings: list[Heard]


class NamedScore(BaseModel):
    """A speaker and the score."""

    speaker_id: str
    name: str
    score: float

    @classmethod
    def of(cls, one: Candidate) -> NamedScore:
        """Of a candidate."""
        return cls(speaker_id=one.speaker_id, name=one.name, score=one.score)


class Identification(Rule):
    """Which of the enrolled people speaks, if any."""

    accepted: bool
    decision: str = Field(description="same, none or uncertain")
    speaker: NamedScore | None = Field(description="null: nobody who is enrolled, or no decision")
    score: float | None = Field(description="of the nearest, accepted or not; null where nobody is enrolled")
    llr: float | None
    margin: float | None = Field(description="score less that of the second")
    candidates: list[NamedScore]
    recording: Heard


class SpeakerOut(BaseModel):
    """A speaker."""

    speaker_id: str
    name: str
    added_s: float = Field(description="seconds since 1970, UTC")
    num_clips: int = Field(description="clips that are enrolled")
    num_review: int = Field(description="clips that wait for review")

    @classmethod
    def of(cls, one: Speaker) -> SpeakerOut:
        """Of a row of the store."""
        return cls(**{key: getattr(one, key) for key in cls.model_fields})


class ClipOut(BaseModel):
    """An enrolled recording."""

    clip_id: str
    speaker_id: str
    state: str = Field(description="enrolled, review or withdrawn")
    review: list[str] = Field(description="why it waits for review")
    flags: list[str]
    model_hash: str
    speech_s: float | None
    source: str
    consent: str | None
    consent_start_s: float | None
    consent_end_s: float | None
    added_s: float
    withdrawn_s: float | None
    embedding: list[float] | None = Field(None, description="with the scope vectors, where it was wanted")

    @classmethod
    def of(cls, one: Clip, *, vectors: bool = False) -> ClipOut:
        """Of a row of the store."""
        kept = one.voiceprint
        return cls(
            clip_id=one.clip_id, speaker_id=one.speaker_id, state=one.state, review=list(one.review),
            flags=list(kept.flags), model_hash=kept.model, speech_s=kept.speech_s, source=kept.source,
            consent=kept.consent.reference if kept.consent else None,
            consent_start_s=kept.consent.start_s if kept.consent else None,
            consent_end_s=kept.consent.end_s if kept.consent else None,
            added_s=one.added_s, withdrawn_s=one.withdrawn_s,
            embedding=kept.embedding.tolist() if vectors else None,
        )  # fmt: skip


class EnrolmentOut(BaseModel):
    """What an enrolment did; it is on the disk."""

    speaker_id: str
    name: str
    clip_ids: list[str]
    state: str = Field(description="enrolled, or review where a gate stopped it")
    num_clips: int
    findings: list[str] = Field(description="what the gates found")
    recordings: list[Heard]


class EmbeddingOut(BaseModel):
    """The embedding of a recording, as the network gives it."""

    embedding: list[float]
    model: str | None
    model_hash: str | None
    recording: Heard


def rule_of(
    threshold: Threshold, reasons: tuple[str, ...], notes: tuple[str, ...], *, inside: bool | None
) -> dict[str, Any]:
    """The fields of ``Rule``."""
    told = threshold.as_dict()
    fields = ("model", "model_hash", "domain", "threshold", "threshold_origin", "calibration")
    return {
        **{key: told.get(key) for key in fields},
        "inside_calibration": inside,
        "reasons": list(reasons),
        "notes": list(notes),
    }


def verification(decision: Decision, recordings: list[Embedded]) -> Verification:
    """Of a decision."""
    limit = decision.threshold.score
    return Verification(
        accepted=decision.label == SAME,
        decision=decision.label.lower(),
        score=decision.score,
        llr=decision.llr,
        margin=None if limit is None else decision.score - limit,
        recordings=[Heard.of(one) for one in recordings],
        **rule_of(decision.threshold, decision.reasons, decision.notes, inside=decision.is_inside),
    )
