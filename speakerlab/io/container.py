"""Audio as browsers and phones record it, WebM, MP4, AMR and such, decoded by PyAV (the extra ``serve``).

``kind(first_bytes)`` -> ``"matroska"``, ``"mov"`` or None; ``decode(stream, kind, max_values)`` -> samples
float32 [S, C] in full scale 1, and their rate in Hz. A recording of which a piece is missing is refused.
``unread(first_bytes)`` names audio files that neither PyAV nor libsndfile reads here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from speakerlab import distribution
from speakerlab.types import Float32Array

START_BYTES = 1024  # which ``kind`` and ``unread`` look at
CODECS = ("opus", "vorbis", "aac", "mp3", "flac", "alac", "pcm_", "amr", "wma")
NAMES = {
    "matroska": "a WebM or Matroska file",
    "mov": "an MP4 file (m4a, 3gp)",
    "amr": "an AMR file",
    "aac": "an AAC file",
    "asf": "a Windows Media file (wma)",
}
FFMPEG = "ffmpeg -v error -i {} -f wav - |"  # of a wav.scp, with the path for the braces
SPH2PIPE = "sph2pipe -f wav -p -c 1 {} |"
# Time stamps of browsers shake by milliseconds; the shortest piece that they send has 100 ms and more.
MAX_GAP_S = 0.08
MAX_MISSING_S = 0.25  # at the end of a file that states its length: encoders pad by two frames of 1024
_FULL_SCALE = {"u1": (128.0, 128.0), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31)}  # offset, scale


_ADTS_HEADER = 7  # bytes
_KINDS = {
    rb"\x1aE\xdf\xa3": "matroska",
    rb".{4}(ftyp|moov|mdat|wide)": "mov",
    rb"#!AMR(-WB)?\n": "amr",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
}
_UNREAD = {
    rb"NIST_1A.*embedded-shorten": ("a SPHERE file compressed with shorten", SPH2PIPE),
    rb"ajkg": ("a shorten file (shn)", FFMPEG),
    rb"MAC ": ("a Monkey's Audio file (ape)", FFMPEG),
    rb"wvpk": ("a WavPack file (wv)", FFMPEG),
    rb"TTA1": ("a True Audio file (tta)", FFMPEG),
    rb"MPCK|MP\+": ("a Musepack file (mpc)", FFMPEG),
    rb"DSD |FRM8": ("a DSD file (dsf, dff)", FFMPEG),
    rb"\.ra\xfd|\.RMF": ("a RealAudio file", FFMPEG),
    rb"FLV": ("a Flash video (flv)", FFMPEG),
    rb"RIFF.{4}AVI ": ("an AVI video", FFMPEG),
    rb"\0\0\x01[\xba\xb3]|G.{187}G.{187}G": ("an MPEG video", FFMPEG),
    rb"caff": ("a CAF file of a codec that is not read here", FFMPEG),
    rb"OggS": ("an Ogg file of a codec that is not read here (Speex, video)", FFMPEG),
}


def kind(start: bytes) -> str | None:
    """FFmpeg's name of the container that begins with ``start``; None where PyAV is not asked to read it."""
    found = next((name for magic, name in _KINDS.items() if re.match(magic, start, re.DOTALL)), None)
    return "aac" if found is None and _is_adts(start) else found


def _is_adts(start: bytes) -> bool:
    """Whether two AAC frames stand at the beginning (ISO 13818-7, 6.2): one alone may be samples."""
    if len(start) < _ADTS_HEADER or start[0] != 0xFF or start[1] & 0xF6 != 0xF0:
        return False
    length = (start[3] & 3) << 11 | start[4] << 3 | start[5] >> 5
    return length >= _ADTS_HEADER and start[length : length + 2] == start[:2]


def unread(start: bytes) -> tuple[str, str] | None:
    """What the file that begins with ``start`` is, and the command that reads it; None if that is not known.

    Some of them, WAV, CAF and Ogg files, libsndfile reads in most codecs: ask it first.
    """
    if re.match(rb"(RIFF|RIFX|RF64|BW64).{4}WAVE", start, re.DOTALL):
        found = re.search(rb"fmt .{4}(..)", start, re.DOTALL)
        codec = int.from_bytes(found[1], "little") if found else 0
        return (f"a WAV file of codec 0x{codec:04x}, which is not read here", FFMPEG) if codec > 1 else None
    return next((what for magic, what in _UNREAD.items() if re.match(magic, start, re.DOTALL)), None)


class UndecodedError(ValueError):
    """PyAV is missing or does not decode the file, which another program may read."""


def decode(stream: BinaryIO, kind: str, max_values: int, max_s: float = math.inf) -> tuple[Float32Array, int]:
    """All samples, float32 [S, C], of the first audio track, and its rate in Hz.

    Args:
        stream: the whole file.
        kind: what ``kind`` told: no other demuxer looks at it.
        max_values: samples of all channels that it may hold.
        max_s: seconds that it may last.

    Raises:
        UndecodedError: PyAV is not installed, or does not decode it; a codec that is not known here.
        ValueError: incomplete, no audio, or longer.
    """
    try:
        import av
    except ImportError as error:
        how = distribution.how_to_install("serve")
        raise UndecodedError(f"{NAMES[kind]}, and PyAV, which reads it, is not installed: {how}") from error
    try:
        with av.open(stream, mode="r", format=kind, metadata_errors="ignore") as opened:
            return _decoded(opened, max_values, max_s)
    except av.error.FFmpegError as error:
        why = f"{NAMES[kind]} that is damaged, cut off or of an unknown form: {error.strerror}"
        raise UndecodedError(why) from error


def _decoded(opened: Any, max_values: int, max_s: float) -> tuple[Float32Array, int]:
    if not opened.streams.audio:
        raise ValueError("holds no audio")
    track = opened.streams.audio[0]
    codec = track.codec_context
    if codec is None or not codec.name.startswith(CODECS):
        name = codec.name if codec else "is unknown"
        raise UndecodedError(f"its codec {name}; send Opus, AAC, FLAC or WAV")
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
