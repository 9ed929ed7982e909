"""Recordings as clients send them: a raw body or the files of a form, with their limits.

``uploads = await read(request, ("audio",), limits)`` -> one ``Upload`` for each name. What a file is, its
content tells, never its name or its declared type; raw PCM alone is declared: ``audio/pcm;rate=16000``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import numpy as np
from fastapi import Request
from starlette.datastructures import UploadFile

from speakerlab.errors import AudioError
from speakerlab.io import audio, container
from speakerlab.io.audio import Channels
from speakerlab.types import Float32Array

PCM = "audio/pcm"  # 16-bit, little-endian, channels interleaved: audio/pcm;rate=16000;channels=1
KINDS = "WAV, FLAC, Ogg, MP3, WebM, MP4 or audio/pcm"
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3")
_MEMORY_BYTES = 1 << 20  # larger bodies lie in a file meanwhile
_START_BYTES = 16
MAX_FIELDS = 16  # of a form, beside its files


class MediaTypeError(AudioError):
    """It is no kind of recording that is read here."""


class BodyError(AudioError):
    """The request holds no recording where there should be one."""


@dataclass(frozen=True)
class Pcm:
    """Raw samples, 16-bit, little-endian: ``rate`` in Hz and the number of interleaved ``channels``."""

    rate: int
    channels: int = 1


@dataclass
class Upload:
    """One recording of a request.

    Attributes:
        name: what messages call it.
        stream: its bytes.
        pcm: what it is, where it has no header.
        channel: the one to listen to, from 0.
    """

    name: str
    stream: BinaryIO
    pcm: Pcm | None = None
    channel: int = 0

    def decode(self, max_s: float) -> Channels:
        """All channels, of at most ``max_s`` seconds.

        Raises:
            MediaTypeError: another kind.
            AudioError: damaged, incomplete, longer.
        """
        if self.pcm is not None:
            return self._raw(self.pcm, max_s)
        self.stream.seek(0)
        start = self.stream.read(_START_BYTES)
        self.stream.seek(0)
        if not start:
            raise BodyError(self.name, "the recording is empty")
        if not is_audio(start):
            raise MediaTypeError(self.name, f"this is none of {KINDS}")
        return audio.decode_channels(self.name, self.stream, "upload", max_s)

    def _raw(self, pcm: Pcm, max_s: float) -> Channels:
        self.stream.seek(0)
        data = self.stream.read()
        size = 2 * pcm.channels
        if not data or len(data) % size:
            raise BodyError(self.name, f"{len(data)} bytes are no samples of {pcm.channels} channels")
        if len(data) > max_s * pcm.rate * size:
            raise AudioError(self.name, f"longer than {max_s:g} s, the limit")
        samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2.0**15)
        return Channels(samples.reshape(-1, pcm.channels), pcm.rate)


@dataclass
class Samples:
    """A recording that is samples already, float32 [S], at ``rate`` Hz."""

    name: str
    samples: Float32Array
    rate: int
    channel: int = 0

    def decode(self, max_s: float) -> Channels:
        """The samples, as one channel.

        Raises:
            AudioError: longer than ``max_s``, or no numbers.
        """
        if len(self.samples) > max_s * self.rate:
            raise AudioError(self.name, f"longer than {max_s:g} s, the limit")
        return Channels(self.samples[:, None], self.rate)

    @classmethod
    def of_floats(cls, name: str, values: Sequence[float], rate: int) -> Samples:
        """Of numbers in full scale 1."""
        with np.errstate(over="ignore"):  # what is infinite then is refused when it is listened to
            return cls(name, np.asarray(values, np.float32), rate)


def is_audio(start: bytes) -> bool:
    """Whether a file that begins so is of a kind that is read here."""
    is_mp3 = len(start) > 2 and start[0] == 0xFF and start[1] & 0xE6 == 0xE2  # a frame of layer III
    return start.startswith(_MAGIC) or is_mp3 or container.kind(start) is not None


def pcm_of(content_type: str) -> Pcm | None:
    """What ``audio/pcm;rate=16000;channels=1`` declares; None for any other type.

    Raises:
        BodyError: no rate, or numbers that cannot be.
    """
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != PCM:
        return None
    told = dict(part.strip().lower().split("=", 1) for part in rest.split(";") if "=" in part)
    try:
        found = Pcm(int(told["rate"]), int(told.get("channels", "1")))
    except (KeyError, ValueError) as error:
        raise BodyError("content-type", f"write {PCM};rate=16000;channels=1") from error
    if not (audio.MIN_SAMPLE_RATE <= found.rate <= audio.MAX_SAMPLE_RATE and 1 <= found.channels <= 32):
        raise BodyError("content-type", f"rate={found.rate};channels={found.channels} cannot be")
    return found


async def read(request: Request, names: Sequence[str], channel: int = 0) -> list[Upload]:
    """The recordings ``names`` of a form, or the one that is the whole body; more than wanted are refused.

    The body's size is limited where it arrives (``serve.limits``).

    Raises:
        BodyError: a recording is missing, given twice, or text.
    """
    content_type = request.headers.get("content-type", "")
    if _is_form(request):
        return await _of_form(request, names, channel)
    if len(names) != 1:
        raise BodyError("request", f"send a form (multipart/form-data) with the files {', '.join(names)}")
    stream = cast("IO[bytes]", tempfile.SpooledTemporaryFile(_MEMORY_BYTES))  # noqa: SIM115 (the upload's)
    size = 0
    async for block in request.stream():
        stream.write(block)
        size += len(block)
    if not size:
        raise BodyError(names[0], "the request holds no recording")
    return [Upload(names[0], cast("BinaryIO", stream), pcm_of(content_type), channel)]


async def read_several(request: Request, name: str, most: int, channel: int = 0) -> list[Upload]:
    """The recordings that all files ``name`` of a form are, at most ``most``; or the one that is the body.

    Raises:
        BodyError: there is none, or too many; one is text.
    """
    if not _is_form(request):
        return await read(request, (name,), channel)
    form = await request.form(max_files=most, max_fields=MAX_FIELDS)
    found = [_upload(name, value, channel) for value in form.getlist(name)]
    if not found:
        raise BodyError(name, f"the file {name} of the form is missing")
    for number, upload in enumerate(found, 1):
        upload.name = f"{name} {number}" if len(found) > 1 else name
    return found


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _of_form(request: Request, names: Sequence[str], channel: int) -> list[Upload]:
    form = await request.form(max_files=len(names) + 1, max_fields=MAX_FIELDS)
    found = []
    for name in names:
        values = form.getlist(name)
        if len(values) != 1:
            raise BodyError(
                name, f"the file {name} of the form is {'missing' if not values else 'given twice'}"
            )
        found.append(_upload(name, values[0], channel))
    return found


def _upload(name: str, value: UploadFile | str, channel: int) -> Upload:
    if not isinstance(value, UploadFile):
        raise BodyError(name, f"{name} is text in the form; send it as a file")
    return Upload(name, value.file, pcm_of(value.content_type or ""), channel)
