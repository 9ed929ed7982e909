"""The only reader and writer of audio: paths, shell pipes and bytes become mono ``Waveform``.

``read(recording, segment, sample_rate=16000)`` decodes only the segment's frames, checks them and
resamples; whatever is wrong is an ``AudioError`` naming the utterance. ``write(path, waveform)`` is atomic.
``read_channels`` gives every channel at its own rate, for ``one_channel`` and ``resample`` to go on with.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from speakerlab.errors import AudioError, SilenceError
from speakerlab.io import atomic, container
from speakerlab.types import Float32Array, Recording, Segment, Waveform

MIN_SAMPLE_RATE = 1000  # in Hz; below it there is no speech
MAX_SAMPLE_RATE = 768_000  # in Hz; resampling from absurd rates takes filters of gigabytes
MAX_SAMPLES = 1 << 30  # of all channels, decoded at once: 4 GiB, 18 h of one channel at 16 kHz
MIN_DURATION_S = 0.025  # one analysis frame
MAX_OVERSHOOT_S = 0.5  # a segment may end this much past its recording (Kaldi's extract-segments)
SILENCE_PEAK = 1e-6  # far below one step of 16-bit audio
MAX_PEAK = 2.0  # decoders overshoot full scale a little; more means samples never meant for [-1, 1]
_STREAMED_WAV = 0x7FFF0000  # writers to a pipe state 0x7FFFF000 (sox) to 0xFFFFFFFF (ffmpeg) bytes
_MP3_SLACK = 2304  # frames: without a Xing header an MP3's length is an estimate
_MP3_TAIL = 4096  # bytes of tags after the last MP3 frame
_OGG_MAX_PAGE = 65307  # bytes, RFC 3533


class _DecodeError(Exception):
    """What is wrong with the audio, before it is known by name."""


@dataclass(frozen=True)
class Channels:
    """Audio as it was recorded: ``samples`` float32 [S, C], full scale at 1, at ``sample_rate`` Hz."""

    samples: Float32Array
    sample_rate: int


class _SilenceError(_DecodeError):
    """The audio is whole and has no sound."""


def read(recording: Recording, segment: Segment | None = None, sample_rate: int | None = None) -> Waveform:
    """The audio of ``recording``, or of ``segment`` in it, mono and checked.

    Seconds become frames by rounding; an end at most 0.5 s past the recording's is moved to it, as in
    Kaldi. Resampling is polyphase (``scipy.signal.resample_poly``: windowed sinc, Kaiser beta 5) by the
    reduced ratio of the two rates. Samples past full scale are clipped.

    Args:
        recording: where the audio is; ``channel`` None demands a mono file.
        segment: the part to read; only its frames are decoded (for MP3, those before it too).
        sample_rate: rate of the result in Hz; None keeps the file's.

    Returns:
        Float32 samples [S] in [-1, 1].

    Raises:
        AudioError: missing, empty, truncated or unreadable file, failed command, no such channel,
            segment outside the recording, shorter than 25 ms, NaN or Inf, silence.
    """
    name = segment.utt_id if segment else recording.rec_id
    with _named(name, recording.source), _stream(recording) as stream:
        return _decode(stream, recording.channel, segment, sample_rate)


def decode(name: str, data: bytes, sample_rate: int | None = None) -> Waveform:
    """The mono audio file held in ``data``, as ``read`` gives it; errors call it ``name``."""
    with _named(name, "data"):
        return _decode(io.BytesIO(data), None, None, sample_rate)


def read_channels(recording: Recording, segment: Segment | None = None) -> Channels:
    """All channels of ``recording``, or of ``segment`` in it; its ``channel`` is not looked at.

    Raises:
        AudioError: missing, empty, truncated or unreadable file, failed command, segment outside of it.
    """
    name = segment.utt_id if segment else recording.rec_id
    with _named(name, recording.source), _stream(recording) as stream:
        return _decode_channels(stream, segment)


def decode_channels(
    name: str, data: bytes | BinaryIO, origin: str = "data", max_s: float = math.inf
) -> Channels:
    """All channels of the audio file held in ``data``, which came from ``origin``; errors name both.

    Raises:
        AudioError: it cannot be decoded, or is longer than ``max_s`` seconds, which costs no memory.
    """
    with _named(name, origin):
        return _decode_channels(io.BytesIO(data) if isinstance(data, bytes) else data, None, max_s)


def one_channel(name: str, channels: Channels, channel: int | None) -> Waveform:
    """Channel ``channel`` at its own rate, clipped to full scale; silence is let through.

    Raises:
        AudioError: no such channel, None where there are several, shorter than 25 ms, NaN or Inf, samples
            far past full scale; it calls the audio ``name``.
    """
    try:
        samples = _mono(channels.samples, channel)
        _check_samples(samples, channels.sample_rate)
    except _DecodeError as error:
        raise AudioError(name, str(error)) from error
    return Waveform(np.clip(samples, -1.0, 1.0), channels.sample_rate)


def resample(waveform: Waveform, sample_rate: int) -> Waveform:
    """``waveform`` at ``sample_rate`` Hz, by the rule of ``read``; said once in the log."""
    if waveform.sample_rate == sample_rate:
        return waveform
    samples = _resampled(waveform.samples, waveform.sample_rate, sample_rate)
    return Waveform(np.clip(samples, -1.0, 1.0), sample_rate)


def duration_s(recording: Recording) -> float:
    """Length in seconds by the header, without decoding; the command of a pipe is run.

    Raises:
        AudioError: what ``read`` raises, as far as the header shows it.
    """
    with _named(recording.rec_id, recording.source), _stream(recording) as stream, _opened(stream) as sound:
        return float(sound.frames / sound.samplerate)


def write(path: Path, waveform: Waveform) -> None:
    """Publish ``waveform`` as 16-bit FLAC or WAV, by the suffix of ``path``; what 16-bit gave comes back.

    Raises:
        AudioError: another suffix, or NaN or Inf samples.
    """
    kind = path.suffix[1:].upper()
    if kind not in ("FLAC", "WAV"):
        raise AudioError(str(path), "audio is written as .flac or .wav")
    if not np.isfinite(waveform.samples).all():
        raise AudioError(str(path), "NaN or Inf samples are not written")
    steps = np.clip(np.rint(waveform.samples * 32768.0), -32768, 32767).astype(np.int16)
    with atomic.staged(path) as temporary:
        soundfile.write(temporary, steps, waveform.sample_rate, format=kind, subtype="PCM_16")


@contextmanager
def _named(name: str, source: str) -> Iterator[None]:
    """Turn every fault of opening and decoding into an ``AudioError`` naming utterance and source."""
    try:
        yield
    except _SilenceError as error:
        raise SilenceError(name, f"{source}: {error}") from error
    except _DecodeError as error:
        raise AudioError(name, f"{source}: {error}") from error
    except FileNotFoundError as error:
        raise AudioError(name, f"{source}: no such file") from error
    except OSError as error:
        raise AudioError(name, f"{source}: cannot be read: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise AudioError(name, f"{source}: damaged or not audio: {error.error_string}") from error


def _stream(recording: Recording) -> BinaryIO:
    """The bytes of the audio file that ``recording`` names."""
    if recording.is_pipe:
        return io.BytesIO(_output(recording.source.rstrip().removesuffix("|")))
    return Path(recording.source).open("rb")


@functools.lru_cache(maxsize=1)  # segments of one recording follow each other: run its command once
def _output(command: str) -> bytes:
    """Standard output of a ``wav.scp`` command."""
    # A declared list is a shell script of its user's; Recording.is_pipe says that this line is of one.
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S602
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode:
        raise _DecodeError(f"the command exits {done.returncode}" + (f": {said}" if said else ""))
    if not done.stdout:
        raise _DecodeError("the command writes nothing" + (f": {said}" if said else ""))
    return done.stdout


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[Any]:
    """The decoder of a whole audio file: a ``soundfile.SoundFile`` of known, positive length."""
    size = stream.seek(0, io.SEEK_END)
    if not size:
        raise _DecodeError("the file is empty")
    stream.seek(0)
    magic = stream.read(12)
    if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
        stream = _checked_wav(stream, size)
    elif magic[:4] == b"OggS":
        _check_ogg(stream, size)
    stream.seek(0)
    try:
        sound = soundfile.SoundFile(stream)
    except TypeError as error:  # a name ending in .raw
        raise _DecodeError("headerless audio states no sample rate; convert it to WAV") from error
    with sound:
        if not sound.frames:
            raise _DecodeError("holds no samples")
        if sound.frames >= 1 << 36:  # FLAC counts samples in 36 bits
            raise _DecodeError("the FLAC header states no length; encode to a file, or pipe WAV")
        yield sound


def _checked_wav(stream: BinaryIO, size: int) -> BinaryIO:
    """The WAV file in ``stream``, whose data must be there; libsndfile reads what is left in silence.

    A length that only a writer to a pipe states (0, or 2 GiB and more) means "to the end of the file".
    """
    stream.seek(4)
    (riff_size,) = struct.unpack("<I", stream.read(4))
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        chunk, length = struct.unpack("<4sI", stream.read(8))
        position += 8
        if chunk == b"data":
            break
        position += length + length % 2
    else:
        raise _DecodeError("truncated: the WAV file ends before its samples")
    if length == 0 and (riff_size <= position - 8 or riff_size >= _STREAMED_WAV):
        stream.seek(0)
        data = stream.read()
        return io.BytesIO(data[: position - 4] + b"\xff" * 4 + data[position:])
    if position + length > size and length < _STREAMED_WAV:
        raise _DecodeError(f"truncated: {size - position} of {length} bytes of samples are there")
    return stream


def _check_ogg(stream: BinaryIO, size: int) -> None:
    """The last Ogg page must be whole: libsndfile drops a broken one in silence."""
    stream.seek(max(0, size - _OGG_MAX_PAGE))
    tail = stream.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    num_parts = page[26] if len(page) > 26 else 0
    if len(page) < 27 + num_parts + sum(page[27 : 27 + num_parts]) or not page.startswith(b"OggS"):
        raise _DecodeError("truncated: the last Ogg page is not whole")


def _decode(
    stream: BinaryIO, channel: int | None, segment: Segment | None, sample_rate: int | None
) -> Waveform:
    channels = _decode_channels(stream, segment)
    rate = channels.sample_rate
    samples = _mono(channels.samples, channel)
    if _check_samples(samples, rate) < SILENCE_PEAK:
        raise _SilenceError(f"silent: no sample reaches {SILENCE_PEAK}")
    if sample_rate is not None and sample_rate != rate:
        samples = _resampled(samples, rate, sample_rate)
    return Waveform(np.clip(samples, -1.0, 1.0), sample_rate or rate)


def _decode_channels(stream: BinaryIO, segment: Segment | None, max_s: float = math.inf) -> Channels:
    kind = container.kind(stream.read(container.START_BYTES))
    stream.seek(0)
    if kind is not None:
        try:
            samples, rate = container.decode(stream, kind, MAX_SAMPLES, max_s)
        except ValueError as error:
            raise _DecodeError(str(error)) from error
        start, end = _span(segment, len(samples), rate)
        return Channels(samples[start:end], rate)
    with _opened(stream) as sound:
        rate = int(sound.samplerate)
        if sound.frames > max_s * rate:
            raise _DecodeError(f"{sound.frames / rate:.1f} s long; {max_s:g} s is the limit")
        start, end = _span(segment, sound.frames, rate)
        return Channels(_frames(sound, stream, start, end), rate)


def _span(segment: Segment | None, num_frames: int, rate: int) -> tuple[int, int]:
    """First frame and the one after the last of ``segment`` in a recording of ``num_frames``."""
    if segment is None:
        return 0, num_frames
    start = round(segment.start_s * rate)
    end = num_frames if segment.end_s is None else round(segment.end_s * rate)
    length = f"the recording, {num_frames / rate:.3f} s long"
    if not 0 <= start < num_frames:
        raise _DecodeError(f"the segment starts at {segment.start_s} s, outside {length}")
    if end > num_frames + MAX_OVERSHOOT_S * rate:
        raise _DecodeError(f"the segment ends at {segment.end_s} s, beyond {length}")
    return start, max(start, min(end, num_frames))


def _frames(sound: Any, stream: BinaryIO, start: int, end: int) -> Float32Array:
    """Frames ``start`` to ``end``, float32 [S, channels].

    MP3 is decoded from its beginning: seeking in it lands beside the frame asked for.
    """
    is_mp3 = sound.format == "MP3"
    skip = start if is_mp3 else 0
    if start > skip:  # some encodings, such as GSM 6.10, cannot be sought in
        sound.seek(start)
    asked = skip + end - start
    if asked * sound.channels > MAX_SAMPLES:  # the header says so: nothing is there yet
        hours = asked / sound.samplerate / 3600
        raise _DecodeError(f"{sound.channels} channels of {hours:.3g} h are too much at once; cut it")
    try:
        frames: Float32Array = sound.read(asked, dtype="float32", always_2d=True)
    except MemoryError as error:
        raise _DecodeError(f"{asked} frames do not fit into memory; cut it") from error
    missing = asked - len(frames)
    if missing > (_MP3_SLACK if is_mp3 else 0):
        raise _DecodeError(f"truncated: {missing} of {sound.frames} frames are missing")
    if is_mp3 and end == sound.frames and stream.read(_MP3_TAIL + 1)[_MP3_TAIL:]:
        raise _DecodeError("longer than its MP3 header says; convert it to WAV or FLAC")
    return frames[skip:]


def _mono(frames: Float32Array, channel: int | None) -> Float32Array:
    num_channels = frames.shape[1]
    if channel is None and num_channels > 1:
        raise _DecodeError(f"has {num_channels} channels; choose one: sox FILE -t wav - remix 1 |")
    if channel is not None and not 0 <= channel < num_channels:
        raise _DecodeError(f"has no channel {channel}; it has {num_channels}, counted from 0")
    return np.ascontiguousarray(frames[:, channel or 0])


def _check_samples(samples: Float32Array, rate: int) -> float:
    """The largest magnitude of samples that are long enough, finite and of the right scale."""
    if rate < MIN_SAMPLE_RATE:
        raise _DecodeError(f"sample_rate is {rate} Hz; {MIN_SAMPLE_RATE} is the least")
    if rate > MAX_SAMPLE_RATE:
        raise _DecodeError(f"sample_rate is {rate} Hz; {MAX_SAMPLE_RATE} is the most")
    if len(samples) < MIN_DURATION_S * rate:
        raise _DecodeError(f"{len(samples) / rate * 1000:.1f} ms is too short; 25 ms is the least")
    peak = float(np.abs(samples).max())  # NaN if any sample is
    if not math.isfinite(peak):
        raise _DecodeError("NaN or Inf samples")
    if peak > MAX_PEAK:
        raise _DecodeError(f"samples reach {peak:.6g} where full scale is 1; rescale them")
    return peak


def _resampled(samples: Float32Array, rate: int, sample_rate: int) -> Float32Array:
    from scipy.signal import resample_poly  # takes half a second, which matching rates need not pay

    _say_resampled(rate, sample_rate)
    common = math.gcd(rate, sample_rate)
    resampled: Float32Array = resample_poly(samples, sample_rate // common, rate // common)
    return resampled.astype(np.float32, copy=False)


@functools.cache  # once per process and pair of rates
def _say_resampled(rate: int, sample_rate: int) -> None:
    logging.info("audio at %d Hz is resampled to %d Hz", rate, sample_rate)
