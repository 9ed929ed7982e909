"""Routes of the people: speakers, their clips, the review list, galleries, the audit."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from speakerlab.errors import DataError
from speakerlab.serve import audio_body, uploads
from speakerlab.serve.access import needs
from speakerlab.serve.answers import ClipOut, EnrolmentOut, Heard, SpeakerOut
from speakerlab.serve.faults import NotFoundError
from speakerlab.serve.keys import ADMIN, ENROL, READ, VECTORS, Key
from speakerlab.serve.recognition import ChannelQuery, require_gallery, require_speaker, service_of
from speakerlab.serve.service import Service
from speakerlab.voiceprint.enrolment import Person
from speakerlab.voiceprint.erasure import erase
from speakerlab.voiceprint.records import REVIEW, Clip, Consent

router = APIRouter(prefix="/v1")
MAX_PAGE = 1000
MAX_FILES = 32

NameField = Annotated[str, Field(min_length=1, max_length=200)]


class NewSpeaker(BaseModel):
    """A speaker to add."""

    name: NameField
    galleries: list[str] = []


class NewName(BaseModel):
    """Another name."""

    name: NameField


class Members(BaseModel):
    """Speakers of a gallery."""

    speaker_ids: list[str] = Field(max_length=10_000)


class Wanted(BaseModel):
    """Who is enrolled, and what allows it."""

    name: Annotated[
        str | None, Field(max_length=200, description="who speaks; a new name adds a speaker")
    ] = None
    speaker_id: Annotated[str | None, Field(description="or a speaker that is there")] = None
    gallery: Annotated[list[str], Field(description="galleries to join")] = []
    consent: Annotated[str | None, Field(max_length=500, description="where the consent is on file")] = None
    consent_start_s: Annotated[float | None, Field(description="seconds since 1970")] = None
    consent_end_s: Annotated[float | None, Field(description="seconds since 1970")] = None

    def person(self, service: Service) -> Person:
        """The same for the store.

        Raises:
            BodyError: neither name nor speaker, or both.
            NotFoundError: there is no such speaker or gallery.
            DataError: the consent cannot be one.
        """
        if (self.name is None) == (self.speaker_id is None):
            raise uploads.BodyError("request", "give either name or speaker_id")
        if self.speaker_id is not None:
            require_speaker(service, self.speaker_id)
        for one in self.gallery:
            require_gallery(service, one)
        period = (self.consent_start_s, self.consent_end_s)
        allowed = Consent(self.consent, *period) if self.consent is not None else None
        return Person(self.name, self.speaker_id, allowed, self.gallery)


# Speakers


@router.get("/speakers", tags=["speakers"])
def speakers(
    request: Request,
    gallery: Annotated[str | None, Query(description="only of this gallery")] = None,
    after: Annotated[str, Query(description="the last name of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    _: Key = Depends(needs(READ)),  # noqa: B008
) -> list[SpeakerOut]:
    """Speakers in order of their names, a page at a time; never their vectors."""
    service = service_of(request)
    if gallery is not None:
        require_gallery(service, gallery)
    return [SpeakerOut.of(one) for one in service.store.speakers(gallery, after=after, limit=limit)]


@router.post("/speakers", status_code=201, tags=["speakers"])
def add_speaker(request: Request, new: NewSpeaker, key: Key = Depends(needs(ENROL))) -> SpeakerOut:  # noqa: B008
    """Add a speaker without clips."""
    service = service_of(request)
    for name in new.galleries:
        require_gallery(service, name)
    return SpeakerOut.of(service.store.acting_as(key.key_id).add_speaker(new.name, new.galleries))


@router.get("/speakers/{speaker_id}", tags=["speakers"])
def speaker(request: Request, speaker_id: str, _: Key = Depends(needs(READ))) -> SpeakerOut:  # noqa: B008
    """One speaker."""
    return SpeakerOut.of(require_speaker(service_of(request), speaker_id))


@router.patch("/speakers/{speaker_id}", tags=["speakers"])
def rename(
    request: Request,
    speaker_id: str,
    new: NewName,
    key: Key = Depends(needs(ENROL)),  # noqa: B008
) -> SpeakerOut:
    """Give a speaker another name."""
    service = service_of(request)
    require_speaker(service, speaker_id)
    service.store.acting_as(key.key_id).rename(speaker_id, new.name)
    return SpeakerOut.of(require_speaker(service, speaker_id))


@router.delete("/speakers/{speaker_id}", tags=["speakers"])
def remove(
    request: Request,
    speaker_id: str,
    key: Key = Depends(needs(ADMIN)),  # noqa: B008
) -> dict[str, Any]:
    """Erase a speaker with everything that is known, and give a receipt."""
    service = service_of(request)
    require_speaker(service, speaker_id)
    receipt = erase(service.store.acting_as(key.key_id), speaker_id)
    return {**receipt, "in_index": service.people.holds(speaker_id)}


# Clips


@router.post(
    "/enrolments", status_code=201, tags=["enrolment"],
    openapi_extra=audio_body.of("audio", several=True),
)  # fmt: skip
async def enrol(
    request: Request,
    wanted: Annotated[Wanted, Query()],
    channel: ChannelQuery = 0,
    key: Key = Depends(needs(ENROL)),  # noqa: B008
) -> EnrolmentOut:
    """Enrol the recordings of one person: all, or none. What a gate stops goes to the review list."""
    service = service_of(request)
    person = await run_in_threadpool(wanted.person, service)
    heard = await service.engine.hear(await uploads.read_several(request, "audio", MAX_FILES, channel))
    done = await run_in_threadpool(service.enrol, heard, person, key.key_id)
    written = done.enrolment
    found = await run_in_threadpool(require_speaker, service, written.speaker_id)
    return EnrolmentOut(
        speaker_id=written.speaker_id,
        name=found.name,
        clip_ids=list(written.clip_ids),
        state=written.state,
        num_clips=written.num_clips,
        findings=[one.why for one in done.findings],
        recordings=[Heard.of(one) for one in heard],
    )


@router.get("/speakers/{speaker_id}/clips", tags=["enrolment"])
def clips(
    request: Request,
    speaker_id: str,
    *,
    vectors: Annotated[bool, Query(description="with embeddings; needs the scope vectors")] = False,
    key: Key = Depends(needs(READ)),  # noqa: B008
) -> list[ClipOut]:
    """The clips of a speaker, oldest first."""
    service = service_of(request)
    require_speaker(service, speaker_id)
    if vectors:
        key.require(VECTORS)
    return [ClipOut.of(one, vectors=vectors) for one in service.store.clips(speaker_id)]


@router.delete("/clips/{clip_id}", status_code=204, tags=["enrolment"])
def withdraw(request: Request, clip_id: str, key: Key = Depends(needs(ENROL))) -> None:  # noqa: B008
    """Take a clip out of use."""
    service = service_of(request)
    _clip(service, clip_id)
    service.store.acting_as(key.key_id).withdraw([clip_id])


@router.get("/review", tags=["enrolment"])
def review(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    _: Key = Depends(needs(ENROL)),  # noqa: B008
) -> list[ClipOut]:
    """Clips that a gate stopped, oldest first."""
    return [ClipOut.of(one) for one in service_of(request).store.review(limit)]


@router.post("/review/{clip_id}/accept", tags=["enrolment"])
def accept(request: Request, clip_id: str, key: Key = Depends(needs(ENROL))) -> SpeakerOut:  # noqa: B008
    """Enrol a clip of the review list."""
    service = service_of(request)
    found = _clip(service, clip_id)
    if found.state != REVIEW:
        raise DataError("clip", f"clip {clip_id!r} is {found.state}, it does not wait for review")
    service.store.acting_as(key.key_id).accept([clip_id])
    return SpeakerOut.of(require_speaker(service, found.speaker_id))


def _clip(service: Service, clip_id: str) -> Clip:
    found = service.store.clip(clip_id)
    if found is None:
        raise NotFoundError(f"there is no clip {clip_id!r}")
    return found


# Galleries


@router.get("/galleries", tags=["galleries"])
def galleries(request: Request, _: Key = Depends(needs(READ))) -> dict[str, int]:  # noqa: B008
    """How many speakers each gallery has."""
    return service_of(request).store.galleries()


@router.put("/galleries/{gallery}", status_code=204, tags=["galleries"])
def add_gallery(request: Request, gallery: str, key: Key = Depends(needs(ADMIN))) -> None:  # noqa: B008
    """Make a gallery; one that is there stays."""
    service = service_of(request)
    if gallery not in service.store.galleries():
        service.store.acting_as(key.key_id).add_gallery(gallery)


@router.delete("/galleries/{gallery}", status_code=204, tags=["galleries"])
def remove_gallery(request: Request, gallery: str, key: Key = Depends(needs(ADMIN))) -> None:  # noqa: B008
    """Remove a gallery; its speakers stay."""
    service = service_of(request)
    service.store.acting_as(key.key_id).remove_gallery(require_gallery(service, gallery))


@router.post("/galleries/{gallery}/speakers", status_code=204, tags=["galleries"])
def join(
    request: Request,
    gallery: str,
    members: Members,
    key: Key = Depends(needs(ENROL)),  # noqa: B008
) -> None:
    """Put speakers into a gallery."""
    service = service_of(request)
    for speaker_id in members.speaker_ids:
        require_speaker(service, speaker_id)
    service.store.acting_as(key.key_id).join(require_gallery(service, gallery), members.speaker_ids)


@router.delete("/galleries/{gallery}/speakers/{speaker_id}", status_code=204, tags=["galleries"])
def leave(
    request: Request,
    gallery: str,
    speaker_id: str,
    key: Key = Depends(needs(ENROL)),  # noqa: B008
) -> None:
    """Take a speaker out of a gallery."""
    service = service_of(request)
    require_speaker(service, speaker_id)
    service.store.acting_as(key.key_id).leave(require_gallery(service, gallery), [speaker_id])


@router.get("/audit", tags=["audit"])
def audit(
    request: Request,
    since: Annotated[int, Query(ge=0, le=2**62, description="revision after which")] = 0,
    speaker_id: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    _: Key = Depends(needs(ADMIN)),  # noqa: B008
) -> list[dict[str, Any]]:
    """Who did what, and when; without audio and vectors."""
    entries = service_of(request).store.audit(since, speaker_id=speaker_id, limit=limit)
    fields = ("revision", "time_s", "actor", "action", "speaker_id", "pseudonym", "num_clips", "gallery")
    return [{name: getattr(one, name) for name in fields} for one in entries]
