"""Audio as browsers and phones record it, WebM and MP4, decoded by PyAV (the extra ``serve``).

``kind(first_bytes)`` -> ``"matroska"``, ``"mov"`` or None; ``decode(stream, kind, max_values)`` -> samples
float32 [S, C] in full scale 1, and their rate in Hz. A recording of which a piece is missing is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from speakerlab.errors import MissingExtraError
from speakerlab.types import Float32Array

START_BYTES = 12  # which ``kind`` looks at
CODECS = ("opus", "vorbis", "aac", "mp3", "flac", "alac", "pcm_")
# Time stamps of browsers shake by milliseconds; the shortest piece that they send has 100 ms and more.
MAX_GAP_S = 0.08
MAX_MISSING_S = 0.25  # at the end of a file that states its length: encoders pad by two frames of 1024
_FULL_SCALE = {"u1": (128.0, 128.0), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31)}  # offset, scale


def kind(start: bytes) -> str | None:
    """FFmpeg's name of the container that begins with ``start``; None where it is none of these two."""
    if start.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    return "mov" if start[4:8] == b"ftyp" else None


def decode(stream: BinaryIO, kind: str, max_values: int, max_s: float = math.inf) -> tuple[Float32Array, int]:
    """All samples, float32 [S, C], of the first audio track, and its rate in Hz.

    Args:
        stream: the whole file.
        kind: what ``kind`` told: no other demuxer looks at it.
        max_values: samples of all channels that it may hold.
        max_s: seconds that it may last.

    Raises:
        ValueError: damaged, incomplete, no audio, a codec that is not known here, or longer.
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "serve") from error
    try:
        with av.open(stream, mode="r", format=kind, metadata_errors="ignore") as opened:
            return _decoded(opened, max_values, max_s)
    except av.error.FFmpegError as error:
        raise ValueError(f"damaged or cut off: {error.strerror}") from error


def _decoded(opened: Any, max_values: int, max_s: float) -> tuple[Float32Array, int]:
    if not opened.streams.audio:
        raise ValueError("holds no audio")
    track = opened.streams.audio[0]
    codec = track.codec_context
    if codec is None or not codec.name.startswith(CODECS):
        raise ValueError(f"its codec {codec.name if codec else 'is unknown'}; send Opus, AAC, FLAC or WAV")
    rate, blocks = int(codec.sample_rate), []
    held = length = 0
    for block in _blocks(opened, track, rate):
        held += block.size
        if held > max_values:
            raise ValueError(f"holds more than {max_values:,} samples, the limit; cut it")
        length += len(block)
        if length > max_s * rate:
            raise ValueError(f"longer than {max_s:g} s, the limit")
        blocks.append(block)
    if not blocks:
        raise ValueError("holds no samples")
    samples = np.concatenate(blocks)
    stated_s = (opened.duration or 0) / 1e6  # in microseconds; WebM that a browser recorded states none
    if stated_s - len(samples) / rate > MAX_MISSING_S:
        raise ValueError(f"truncated: {len(samples) / rate:.2f} of {stated_s:.2f} s are there")
    return samples, rate


def _blocks(opened: Any, track: Any, rate: int) -> Iterator[Float32Array]:
    """Frames [S, C] one after the other, each where the one before it ends."""
    end_s = None
    channels = None
    for frame in opened.decode(track):
        if frame.sample_rate != rate or channels not in (None, frame.layout.nb_channels):
            raise ValueError("its rate or its channels change on the way")
        channels = frame.layout.nb_channels
        start_s = frame.time if frame.time is not None else end_s or 0.0
        if end_s is not None and abs(start_s - end_s) > MAX_GAP_S:
            raise ValueError(f"a piece is missing or out of place between {end_s:.2f} and {start_s:.2f} s")
        end_s = start_s + frame.samples / rate
        yield _samples(frame)


def _samples(frame: Any) -> Float32Array:
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    offset, scale = _FULL_SCALE.get(values.dtype.str[1:], (0.0, 1.0))
    scaled: Float32Array = ((values.astype(np.float32) - offset) / np.float32(scale)).astype(np.float32)
    return scaled
