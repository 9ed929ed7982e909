"""The six routes of an older speaker server, for its clients: modes are galleries, named in the settings.

``speakerlab serve --legacy-routes all,moring,ai``. The mode that a client chooses belongs to its key (without
keys: to its address), not to the process. Waveforms come as JSON lists of floats at 16 kHz.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from speakerlab.errors import AudioError
from speakerlab.pipeline.decision import judged
from speakerlab.serve.access import needs
from speakerlab.serve.faults import NotFoundError
from speakerlab.serve.keys import READ, VECTORS, Key
from speakerlab.serve.recognition import service_of
from speakerlab.serve.service import Service
from speakerlab.serve.uploads import Samples

router = APIRouter(tags=["legacy"])
RATE = 16000
CUSTOM = "custom"
MAX_CLIENTS = 10_000  # whose modes are remembered; the oldest are forgotten
MAX_CUSTOM = 10_000  # speakers of a gallery that a client sends


class Waveform(BaseModel):
    """A recording, 16 kHz, mono."""

    speaker: list[float] = Field(min_length=1)


class Mode(BaseModel):
    """A gallery's name."""

    feats_mode: str


class Custom(BaseModel):
    """A gallery of the client's own."""

    label: list[str] = Field(min_length=1, max_length=MAX_CUSTOM)
    feats: list[list[float]] = Field(min_length=1, max_length=MAX_CUSTOM)


@dataclass(frozen=True)
class Chosen:
    """What one client chose: a mode, and its own vectors where the mode is ``custom``."""

    mode: str
    labels: tuple[str, ...] = ()
    directions: Any = None


class Clients:
    """What each client chose, the latest ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chosen: OrderedDict[str, Chosen] = OrderedDict()

    def of(self, client: str, default: str) -> Chosen:
        """The client's choice."""
        with self._lock:
            return self._chosen.get(client) or Chosen(default)

    def choose(self, client: str, chosen: Chosen) -> None:
        """Remember it."""
        with self._lock:
            self._chosen[client] = chosen
            self._chosen.move_to_end(client)
            while len(self._chosen) > MAX_CLIENTS:
                self._chosen.popitem(last=False)


def _client(request: Request, key: Key) -> str:
    return key.key_id if key.sha256 else f"address {request.client.host if request.client else ''}"


def _modes(service: Service) -> dict[str, list[str]]:
    return service.settings.legacy or {}


def _labels(service: Service, chosen: Chosen) -> list[str]:
    if chosen.mode == CUSTOM:
        return list(chosen.labels)
    galleries = _modes(service)[chosen.mode]
    found = {one.name for name in galleries for one in service.store.speakers(name)}
    return sorted(found)


def _told(service: Service, chosen: Chosen) -> dict[str, Any]:
    return {"label": _labels(service, chosen), "feats_mode": chosen.mode}


@router.post("/InitSpeakerFeats")
def init_speaker_feats(request: Request, key: Key = Depends(needs(READ))) -> dict[str, Any]:  # noqa: B008
    """Go back to the first mode."""
    service = service_of(request)
    chosen = Chosen(next(iter(_modes(service))))
    request.app.state.legacy.choose(_client(request, key), chosen)
    return _told(service, chosen)


@router.post("/ModifyFeatsMode")
def modify_feats_mode(request: Request, new: Mode, key: Key = Depends(needs(READ))) -> dict[str, Any]:  # noqa: B008
    """Choose a mode."""
    service = service_of(request)
    if new.feats_mode not in _modes(service):
        raise NotFoundError(f"there is no mode {new.feats_mode!r}; use {', '.join(_modes(service))}")
    chosen = Chosen(new.feats_mode)
    request.app.state.legacy.choose(_client(request, key), chosen)
    return _told(service, chosen)


@router.post("/ModifyFeatsCustom")
def modify_feats_custom(request: Request, new: Custom, key: Key = Depends(needs(READ))) -> dict[str, Any]:  # noqa: B008
    """Recognise among vectors that the client sends, as ``SpeakerFeats`` gave them."""
    service = service_of(request)
    sizes = {len(row) for row in new.feats}
    dim = service.embed_dim
    if len(new.label) != len(new.feats) or sizes != {dim}:
        raise AudioError("feats", f"give one vector of {dim} numbers for each label")
    with np.errstate(over="ignore"):
        matrix = np.array(new.feats, np.float32)
    if not np.isfinite(matrix).all() or not (np.linalg.norm(matrix, axis=1) > 0).all():
        raise AudioError("feats", "vectors must be finite and not zero")
    chosen = Chosen(CUSTOM, tuple(new.label), service.threshold.directions(matrix))
    request.app.state.legacy.choose(_client(request, key), chosen)
    return _told(service, chosen)


@router.api_route("/GetSpeakerList", methods=["GET", "POST"])
def get_speaker_list(request: Request, key: Key = Depends(needs(READ))) -> dict[str, Any]:  # noqa: B008
    """Who is in the mode; vectors only for a key with that scope."""
    service = service_of(request)
    chosen = request.app.state.legacy.of(_client(request, key), next(iter(_modes(service))))
    told = _told(service, chosen)
    return {**told, "feats": _vectors(service, told["label"], chosen) if key.may(VECTORS) else []}


def _vectors(service: Service, labels: list[str], chosen: Chosen) -> list[list[float]]:
    if chosen.mode == CUSTOM:
        custom: list[list[float]] = chosen.directions.tolist()
        return custom
    ids = {name: one.speaker_id for name in labels if (one := service.store.find(name)) is not None}
    model = str(service.threshold.model["model_hash"])
    models = service.store.models(model, service.threshold.directions, speaker_ids=list(ids.values()))
    rows = dict(zip(models.ids, models.matrix.tolist(), strict=True))
    return [rows.get(ids.get(name, ""), []) for name in labels]


@router.api_route("/SpeakerFeats", methods=["POST"])
async def speaker_feats(request: Request, sent: Waveform, _: Key = Depends(needs(VECTORS))) -> dict[str, Any]:  # noqa: B008
    """The embedding of a recording."""
    (heard,) = await service_of(request).engine.hear([Samples.of_floats("speaker", sent.speaker, RATE)])
    return {"feats": [heard.embedding.tolist()]}


@router.api_route("/speaker", methods=["POST"])
async def speaker(request: Request, sent: Waveform, key: Key = Depends(needs(READ))) -> dict[str, Any]:  # noqa: B008
    """Who of the mode it is: ``name``, empty where it is nobody, and the ``score`` as text, as ever."""
    service = service_of(request)
    (heard,) = await service.engine.hear([Samples.of_floats("speaker", sent.speaker, RATE)])
    chosen = request.app.state.legacy.of(_client(request, key), next(iter(_modes(service))))

    def search() -> tuple[str | None, float | None, list[str]]:
        if chosen.mode == CUSTOM:
            scores = service.threshold.score_models(chosen.directions, heard.embedding)
            best = int(np.argmax(scores))
            reasons, _, _ = judged({"": heard.heard.speech}, service.threshold)
            accepted = not reasons and scores[best] >= (service.threshold.score or 0.0)
            return chosen.labels[best] if accepted else None, float(scores[best]), list(reasons)
        wanted = {
            one.speaker_id for name in _modes(service)[chosen.mode] for one in service.store.speakers(name)
        }
        answer = service.identify(heard, speaker_ids=sorted(wanted))
        return answer.speaker.name if answer.speaker else None, answer.score, answer.reasons

    name, score, reasons = await run_in_threadpool(search)
    text = "" if score is None else f"{score:.2f}"
    return {"name": name or "", "score": text, "accepted": name is not None, "reasons": reasons}
