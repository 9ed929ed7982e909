"""Routes that listen: verify, identify, embed; enrolment is in ``serve.enrolment``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from speakerlab.errors import SpeakerLabError
from speakerlab.pipeline.decision import Decision, cosine, decide, judged
from speakerlab.pipeline.embedding import Embedded
from speakerlab.serve import audio_body, uploads
from speakerlab.serve.access import needs
from speakerlab.serve.answers import EmbeddingOut, Heard, Identification, Verification, verification
from speakerlab.serve.faults import NotFoundError
from speakerlab.serve.keys import READ, VECTORS, Key
from speakerlab.serve.service import Service
from speakerlab.voiceprint.records import Speaker

router = APIRouter(prefix="/v1", tags=["recognition"])
MAX_TOP = 100
MAX_IDS = 1000

ThresholdQuery = Annotated[
    float | None, Query(description="score from which on it is the same speaker; default: the model's")
]
ChannelQuery = Annotated[int, Query(ge=0, le=31, description="channel of the recording to listen to, from 0")]


def service_of(request: Request) -> Service:
    """The server's parts."""
    found: Service = request.app.state.service
    return found


@router.post("/verify", openapi_extra=audio_body.of("first", "second", "audio"))
async def verify(
    request: Request,
    speaker_id: Annotated[
        str | None, Query(description="an enrolled speaker, in place of a second recording")
    ] = None,
    threshold: ThresholdQuery = None,
    channel: ChannelQuery = 0,
    _: Key = Depends(needs(READ)),  # noqa: B008
) -> Verification:
    """Are two recordings of one person, or a recording and an enrolled speaker?

    With `speaker_id` send one recording (the file `audio` of a form, or the whole body); without it the files
    `first` and `second` of a form.
    """
    service = service_of(request)
    service.threshold_for(threshold)  # before anything is decoded
    if speaker_id is None:
        heard = await service.engine.hear(await uploads.read(request, ("first", "second"), channel))
        decision = decide(heard[0], heard[1], service.threshold_for(threshold))
    else:
        await run_in_threadpool(require_speaker, service, speaker_id)
        heard = await service.engine.hear(await uploads.read(request, ("audio",), channel))
        decision = await run_in_threadpool(claimed, service, heard[0], speaker_id, threshold)
    service.meters.decided("verify", decision.label.lower())
    return verification(decision, heard)


def require_speaker(service: Service, speaker_id: str) -> Speaker:
    """The speaker of that id.

    Raises:
        NotFoundError: there is none.
    """
    try:
        return service.store.speaker(speaker_id)
    except SpeakerLabError as error:
        raise NotFoundError(f"there is no speaker {speaker_id!r}") from error


def claimed(service: Service, heard: Embedded, speaker_id: str, given: float | None) -> Decision:
    """Whether a recording is of an enrolled speaker."""
    in_force = service.threshold_for(given)
    models = service.store.models(
        str(in_force.model["model_hash"]), in_force.directions, speaker_ids=[speaker_id]
    )
    if not models.ids:
        raise NotFoundError(f"speaker {speaker_id!r} has no clip that is enrolled with this model")
    score = float(in_force.score_models(models.matrix, heard.embedding)[0])
    plain = score if in_force.adaptation is None else cosine(models.matrix[0], heard.embedding)
    return Decision(plain, score, in_force, *judged({"": heard.heard.speech}, in_force))


@router.post("/identify", openapi_extra=audio_body.of("audio"))
async def identify(
    request: Request,
    gallery: Annotated[str | None, Query(description="only of this gallery")] = None,
    speaker_id: Annotated[
        list[str] | None, Query(max_length=MAX_IDS, description="only of these speakers; may be repeated")
    ] = None,
    top_k: Annotated[int, Query(ge=1, le=MAX_TOP, description="how many candidates to tell")] = 5,
    threshold: ThresholdQuery = None,
    channel: ChannelQuery = 0,
    _: Key = Depends(needs(READ)),  # noqa: B008
) -> Identification:
    """Which of the enrolled people speaks, if any? The set is open: the answer may be nobody."""
    service = service_of(request)
    service.threshold_for(threshold)
    if gallery is not None:
        await run_in_threadpool(require_gallery, service, gallery)
    (heard,) = await service.engine.hear(await uploads.read(request, ("audio",), channel))

    def search() -> Identification:
        return service.identify(
            heard, top_k=top_k, gallery=gallery, speaker_ids=speaker_id, threshold=threshold
        )

    found = await run_in_threadpool(search)
    service.meters.decided("identify", found.decision)
    return found


def require_gallery(service: Service, gallery: str) -> str:
    """The spelling of a gallery.

    Raises:
        NotFoundError: there is none of that name.
    """
    try:
        return service.store.gallery(gallery)
    except SpeakerLabError as error:
        raise NotFoundError(f"there is no gallery {gallery!r}") from error


@router.post("/embed", openapi_extra=audio_body.of("audio"))
async def embed(
    request: Request,
    channel: ChannelQuery = 0,
    _: Key = Depends(needs(VECTORS)),  # noqa: B008
) -> EmbeddingOut:
    """The embedding of a recording, as the network gives it. Voiceprints are biometric data."""
    service = service_of(request)
    (heard,) = await service.engine.hear(await uploads.read(request, ("audio",), channel))
    told = service.threshold.model
    return EmbeddingOut(
        embedding=heard.embedding.tolist(),
        model=told.get("model"),
        model_hash=told.get("model_hash"),
        recording=Heard.of(heard),
    )


@router.get("/models")
async def models(request: Request, _: Key = Depends(needs(READ))) -> list[dict[str, object]]:  # noqa: B008
    """The model in use, and what its decisions rest on."""
    return [service_of(request).describe()]
