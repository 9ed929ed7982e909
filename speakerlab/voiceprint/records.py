"""What the voiceprint store keeps and gives back, and the checks at its border.

``Voiceprint(embedding, bundle.content_hash, "ann.wav", speech_s=4.2)`` is one clip to enrol; ``Clip`` and
``Speaker`` are rows of the store. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speakerlab.errors import DataError
from speakerlab.types import Float32Array

MAX_NAME = 200  # characters of a display name
MAX_DIM = 16384  # no network here gives more than 6144 numbers
ENROLLED, REVIEW, WITHDRAWN = "enrolled", "review", "withdrawn"


@dataclass(frozen=True, slots=True)
class Consent:
    """What allows a clip to be kept.

    Attributes:
        reference: where the consent is on file; never its text.
        start_s: when it begins; None for always.
        end_s: when it ends; None where no end was agreed.
    """

    reference: str
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        times = [time for time in (self.start_s, self.end_s) if time is not None]
        if not self.reference.strip() or not all(map(math.isfinite, times)) or times != sorted(times):
            period = f"from {self.start_s} to {self.end_s}"
            fix = "give a reference, and a period that ends after it starts"
            raise DataError("consent", f"{self.reference!r} {period} is no consent", fix)


@dataclass(frozen=True, slots=True, eq=False)
class Voiceprint:
    """One clip to enrol.

    Attributes:
        embedding: float32 [E], as the network gave it.
        model: ``content_hash`` of the model, which covers weights and front end.
        source: where the recording came from; a note for people, never opened.
        speech_s: seconds of speech in it; None where only features were known.
        model_name: for messages.
        flags: what was found wrong with the recording, in words.
        calibration: ``speakerlab.hub.rule.identity`` of the decisions in force; None without any.
        consent: None where the operator does not demand one.
        audio: name of the kept recording in the audio folder, without suffix; None where none is kept.
    """

    embedding: Float32Array
    model: str
    source: str
    speech_s: float | None = None
    model_name: str = ""
    flags: tuple[str, ...] = ()
    calibration: str | None = None
    consent: Consent | None = None
    audio: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One clip of the store; nothing of it changes but its state.

    Attributes:
        clip_id: opaque.
        speaker_id: whose it is.
        voiceprint: what was enrolled.
        state: ``enrolled``, ``review`` or ``withdrawn``.
        review: why it was put on the review list; empty where it was not.
        galleries: which the speaker joins when it is accepted.
        added_s: when it was added.
        withdrawn_s: when it was withdrawn, if it was.
    """

    clip_id: str
    speaker_id: str
    voiceprint: Voiceprint
    state: str
    review: tuple[str, ...]
    galleries: tuple[str, ...]
    added_s: float
    withdrawn_s: float | None


@dataclass(frozen=True, slots=True)
class Speaker:
    """One speaker; ``num_clips`` counts the clips that are enrolled, of whatever model."""

    speaker_id: str
    name: str
    added_s: float
    num_clips: int
    num_review: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What one enrolment did: committed when it is returned.

    Attributes:
        speaker_id: who was enrolled.
        clip_ids: the new clips, in the order given.
        state: ``enrolled`` or ``review``.
        revision: of the store after it.
        num_clips: clips of the speaker that are enrolled now.
    """

    speaker_id: str
    clip_ids: tuple[str, ...]
    state: str
    revision: int
    num_clips: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after a revision.

    Attributes:
        revision: of the store now; pass it to the next ``changes_since``.
        time_s: of the store now; pass it too, for consents that start or end meanwhile.
        changed: speakers whose clips, name or galleries may have changed, new ones included.
        removed: speakers that are no longer there.
        is_complete: False where the revision is too old to tell: read everything again.
    """

    revision: int
    time_s: float
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and when.

    Attributes:
        revision: of the store; clips added or changed by the action carry it too.
        time_s: when.
        actor: who: a system user, or the id of a key.
        action: what was done.
        speaker_id: to whom; None for nobody, and where that speaker was erased.
        pseudonym: stands for the speaker in every entry, after erasure too; None for nobody.
        num_clips: how many clips it touched.
        gallery: the gallery, where it was about one.
    """

    revision: int
    time_s: float
    actor: str
    action: str
    speaker_id: str | None
    pseudonym: str | None
    num_clips: int
    gallery: str | None


def normalised(name: str, where: str) -> str:
    """One spelling of a name that keyboards compose differently (Unicode NFC), without outer spaces.

    Args:
        name: of a speaker or a gallery.
        where: the store, for messages.

    Raises:
        DataError: it is empty, longer than 200 characters, or holds characters that cannot be printed.
    """
    spelled = unicodedata.normalize("NFC", name.strip())
    odd = any(unicodedata.category(character) in {"Cc", "Cs"} for character in spelled)
    if not spelled or len(spelled) > MAX_NAME or odd:
        raise DataError(where, f"{name[:MAX_NAME]!r} cannot be a name", f"use 1 to {MAX_NAME} characters")
    return spelled


def printable(text: str) -> str:
    """``text`` as every database takes it: no NUL, nothing that is not Unicode."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def checked(voiceprints: Sequence[Voiceprint], where: str) -> dict[str, tuple[int, str]]:
    """Size and name of each model of ``voiceprints``, by its hash.

    Raises:
        DataError: there is none, one is not finite, of length zero, no vector, or has no model; two of one
            model differ in size.
    """
    if not voiceprints:
        raise DataError(where, "no recording to enrol")
    models: dict[str, tuple[int, str]] = {}
    for one in voiceprints:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            vector = np.asarray(one.embedding, np.float32)
        if vector.ndim != 1 or not 0 < vector.size <= MAX_DIM or not np.isfinite(vector).all():
            raise DataError(where, f"{one.source}: the embedding must be a vector of finite numbers")
        if not float(np.linalg.norm(vector.astype(np.float64))) > 0:  # it would have a cosine with nothing
            raise DataError(where, f"{one.source}: the embedding has length zero", "record this person again")
        if not one.model:
            raise DataError(where, f"{one.source}: the embedding has no model")
        if models.setdefault(one.model, (vector.size, one.model_name))[0] != vector.size:
            raise DataError(where, f"{one.source}: embeddings of one model must be of one size")
        if one.speech_s is not None and not (math.isfinite(one.speech_s) and one.speech_s >= 0):
            raise DataError(where, f"{one.source}: {one.speech_s} s of speech is no duration")
    return models
