"""Live verification over a WebSocket: the answer is refined as speech arrives.

The client sends ``{"rate": 48000, "speaker_id": "..."}`` (or ``"gallery"``, or neither: everybody; ``"key"``
where keys are needed), then binary messages: a number of 4 bytes, little-endian, that counts from 0, and
samples, 16-bit, little-endian, mono. ``{"end": true}`` ends it. Answers are JSON: ``speech_s``,
``decision``, ``score``, ``is_enough``, ``enough_s``, at most two a second, and one at the end with
``is_final``.
"""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.io import audio
from speakerlab.serve.access import authorised
from speakerlab.serve.answers import verification
from speakerlab.serve.engine import BusyError
from speakerlab.serve.faults import of_error
from speakerlab.serve.keys import READ, RefusedError
from speakerlab.serve.recognition import claimed, require_gallery, require_speaker
from speakerlab.serve.service import Service
from speakerlab.serve.uploads import Samples

router = APIRouter()
EVERY_S = 0.5  # of audio between two answers
# Seconds of speech from which on a decision is called enough: three times the least for one. Not measured.
ENOUGH_S = 3.0
HELLO_S = 10.0  # for the first message
SILENT_S = 15.0  # without any message
MAX_MESSAGE = 1 << 18  # bytes of samples at once


@dataclass(frozen=True)
class Hello:
    """What the first message asks for."""

    rate: int
    speaker_id: str | None = None
    gallery: str | None = None
    threshold: float | None = None
    key: str | None = None

    @classmethod
    def read(cls, text: str) -> Hello:
        """From JSON.

        Raises:
            SpeakerLabError: it is not such a message.
        """
        try:
            told = json.loads(text)
            found = cls(**{name: told[name] for name in cls.__dataclass_fields__ if name in told})
        except (ValueError, TypeError) as error:
            raise SpeakerLabError('begin with {"rate": 16000, "speaker_id": "..."}') from error
        texts = (found.speaker_id, found.gallery, found.key)
        is_number = isinstance(found.threshold, int | float) or found.threshold is None
        if not (isinstance(found.rate, int) and all(isinstance(t, str | None) for t in texts) and is_number):
            raise SpeakerLabError("rate is a whole number of Hz, speaker_id, gallery and key are texts")
        if not audio.MIN_SAMPLE_RATE <= found.rate <= audio.MAX_SAMPLE_RATE:
            raise SpeakerLabError(f"rate is {found.rate} Hz, which cannot be")
        return found


class Stream:
    """The samples so far, checked piece by piece."""

    def __init__(self, rate: int, max_s: float) -> None:
        self.rate, self._max = rate, int(max_s * rate)
        self._pieces: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self._next = 0
        self.num_samples = 0

    def add(self, message: bytes) -> None:
        """Take a message.

        Raises:
            AudioError: a piece is missing or odd, or the whole becomes too long.
        """
        if len(message) < 6 or len(message) % 2 or len(message) > MAX_MESSAGE:
            raise AudioError("live", f"{len(message)} bytes are no number and samples of 16 bits")
        (number,) = struct.unpack_from("<I", message)
        if number != self._next:
            raise AudioError("live", f"piece {self._next} is missing: {number} came; start again")
        self._next += 1
        samples = np.frombuffer(message, "<i2", offset=4).astype(np.float32) / np.float32(2**15)
        self.num_samples += len(samples)
        if self.num_samples > self._max:
            raise AudioError("live", f"longer than {self._max / self.rate:g} s, the limit")
        self._pieces.append(samples)

    def recording(self) -> Samples:
        """All of it."""
        return Samples("live", np.concatenate(self._pieces), self.rate)


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """One live verification or identification."""
    service: Service = socket.app.state.service
    await socket.accept()
    try:
        hello = Hello.read(await asyncio.wait_for(socket.receive_text(), HELLO_S))
        authorised(service, hello.key, READ)
        service.threshold_for(hello.threshold)
        if hello.speaker_id is not None:
            await run_in_threadpool(require_speaker, service, hello.speaker_id)
        if hello.gallery is not None:
            await run_in_threadpool(require_gallery, service, hello.gallery)
        await _listen(socket, service, hello)
        await socket.close()
    except WebSocketDisconnect:
        return
    except asyncio.TimeoutError:
        await _end(socket, "too_slow", "nothing came for too long")
    except RefusedError as error:
        await _end(socket, error.code, error.message)
    except (SpeakerLabError, KeyError) as error:  # KeyError: text where bytes should be, or the reverse
        known = (
            error if isinstance(error, SpeakerLabError) else SpeakerLabError("a message of the wrong kind")
        )
        await _end(socket, of_error(known)[1], str(known))


async def _end(socket: WebSocket, code: str, message: str) -> None:
    await socket.send_json({"error": code, "message": message})
    await socket.close(1008)


async def _listen(socket: WebSocket, service: Service, hello: Hello) -> None:
    stream = Stream(hello.rate, service.settings.limits.max_audio_s)
    told = 0
    job: asyncio.Task[None] | None = None
    try:
        while True:
            message = await asyncio.wait_for(socket.receive(), SILENT_S)
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            if message.get("bytes") is None:
                break
            stream.add(message["bytes"])
            is_due = stream.num_samples - told >= EVERY_S * stream.rate
            if is_due and (job is None or job.done()):  # one at a time: a slow server answers less often
                if job is not None:
                    job.result()
                told = stream.num_samples
                job = asyncio.create_task(_answer(socket, service, hello, stream.recording()))
        if job is not None:
            await job
            job = None
        if stream.num_samples:
            await _answer(socket, service, hello, stream.recording(), is_final=True)
    finally:
        if job is not None:
            job.cancel()


async def _answer(
    socket: WebSocket, service: Service, hello: Hello, recording: Samples, *, is_final: bool = False
) -> None:
    try:
        (heard,) = await service.engine.hear([recording])
    except BusyError:
        if is_final:
            raise
        return
    if hello.speaker_id is not None:
        decision = await run_in_threadpool(claimed, service, heard, hello.speaker_id, hello.threshold)
        told: dict[str, Any] = verification(decision, [heard]).model_dump()
    else:

        def search() -> dict[str, Any]:
            return service.identify(heard, gallery=hello.gallery, threshold=hello.threshold).model_dump()

        told = await run_in_threadpool(search)
    speech_s = heard.heard.speech.speech_s or 0.0
    enough = speech_s >= ENOUGH_S and told["decision"] != "uncertain"
    found = {"speech_s": speech_s, "enough_s": ENOUGH_S, "is_enough": enough, "is_final": is_final}
    await socket.send_json({**told, **found})
    service.meters.decided("live", told["decision"])
