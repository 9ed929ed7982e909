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
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from speakerlab.errors import AudioError, SilenceError
from speakerlab.io import atomic, audio_source, container, ogg, promised
from speakerlab.types import Float32Array, Recording, Segment, Waveform

MIN_SAMPLE_RATE = 1000  # in Hz; below it there is no speech
MAX_SAMPLE_RATE = 768_000  # in Hz; resampling from absurd rates takes filters of gigabytes
MAX_SAMPLES = 1 << 30  # of all channels, decoded at once: 4 GiB, 18 h of one channel at 16 kHz
MIN_DURATION_S = 0.025  # one analysis frame
MAX_OVERSHOOT_S = 0.5  # a segment may end this much past its recording (Kaldi's extract-segments)
SILENCE_PEAK = 1e-6  # far below one step of 16-bit audio
MAX_PEAK = 2.0  # decoders overshoot full scale a little; more means samples never meant for [-1, 1]
_COUNTED = ("FLAC", "OGG")  # their headers state frames, which may not be there
_MP3_SLACK = 2304  # frames: without a Xing header an MP3's length is an estimate
_BLOCK = 1 << 20  # frames decoded at once where they are only counted
_MP3_TAIL = 4096  # bytes of tags after the last MP3 frame


class _DecodeError(Exception):
    """What is wrong with audio that has no name yet; ``pipe`` may read it, with the path for {}."""

    def __init__(self, why: str, pipe: str = "") -> None:
        super().__init__(why)
        self.pipe = pipe


@dataclass(frozen=True)
class Channels:
    """Audio as it was recorded: ``samples`` float32 [S, C], full scale at 1, at ``sample_rate`` Hz."""

    samples: Float32Array
    sample_rate: int


class _SilenceError(_DecodeError):
    """The audio is whole and has no sound."""


def read(recording: Recording, segment: Segment | None = None, sample_rate: int | None = None) -> Waveform:
    """The audio of ``recording``, or of ``segment`` in it, mono and checked.

    Seconds become frames by cutting off, as in Kaldi's extract-segments; an end at most 0.5 s past the
    recording's is moved to it. Resampling is polyphase (``scipy.signal.resample_poly``: windowed sinc, Kaiser
    beta 5) by the reduced ratio of the two rates. Samples past full scale are clipped.

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
    with _recorded(recording, name) as stream:
        return _decode(stream, _channel(recording, segment), segment, sample_rate)


def decode(name: str, data: bytes, sample_rate: int | None = None) -> Waveform:
    """The mono audio file held in ``data``, as ``read`` gives it; errors call it ``name``."""
    with _named(name, "data"):
        return _decode(io.BytesIO(data), None, None, sample_rate)


def read_channels(recording: Recording, segment: Segment | None = None) -> Channels:
    """All channels of ``recording``, or of ``segment`` in it; the one channel that either names.

    Raises:
        AudioError: missing, empty, truncated or unreadable file, failed command, segment outside of it.
    """
    name = segment.utt_id if segment else recording.rec_id
    with _recorded(recording, name) as stream:
        found, channel = _decode_channels(stream, segment), _channel(recording, segment)
        if channel is None:
            return found
        return Channels(_mono(found.samples, channel)[:, None], found.sample_rate)


def _channel(recording: Recording, segment: Segment | None) -> int | None:
    return recording.channel if segment is None or segment.channel is None else segment.channel


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
    """Length in seconds of what can be decoded; the command of a pipe is run.

    Little is decoded where the header can be trusted; MP3 and what PyAV reads is decoded whole.

    Raises:
        AudioError: what ``read`` raises, as far as the header and the last frame show it.
    """
    with _recorded(recording, recording.rec_id) as stream:
        if _container_kind(stream) is not None:
            channels = _decode_channels(stream, None)
            return len(channels.samples) / channels.sample_rate
        with _opened(stream) as sound:
            return _num_frames(sound) / float(sound.samplerate)


def _num_frames(sound: Any) -> int:
    """The frames that can be decoded, which a header of these formats may not know."""
    if sound.format == "MP3":
        return _counted(sound)
    if sound.format in _COUNTED:
        try:
            sound.seek(sound.frames - 1)
            left = len(sound.read(1, dtype="float32", always_2d=True))
        except soundfile.LibsndfileError:
            left = 0
        if not left:
            raise _DecodeError(f"truncated: the last of {sound.frames} frames is missing")
    return int(sound.frames)


def _counted(sound: Any) -> int:
    """The frames of an MP3 file, decoded: without a Xing header the stated number is an estimate."""
    found = 0
    while size := len(sound.read(_BLOCK, dtype="float32", always_2d=True)):
        found += size
    if found < sound.frames - _MP3_SLACK:
        raise _DecodeError(f"truncated: {sound.frames - found} of {sound.frames} frames are missing")
    return found


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
def _named(name: str, source: str, *, is_file: bool = False) -> Iterator[None]:
    """Turn every fault of opening and decoding into an ``AudioError`` naming utterance and source."""
    try:
        yield
    except _SilenceError as error:
        raise SilenceError(name, f"{source}: {error}") from error
    except _DecodeError as error:
        pipe = error.pipe.format(shlex.quote(source)) if is_file else ""
        raise AudioError(name, f"{source}: {error}", pipe) from error
    except FileNotFoundError as error:
        raise AudioError(name, f"{source}: no such file") from error
    except OSError as error:
        raise AudioError(name, f"{source}: cannot be read: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise AudioError(name, f"{source}: damaged or not audio: {error.error_string}") from error


@contextmanager
def _recorded(recording: Recording, name: str) -> Iterator[BinaryIO]:
    """The bytes of the audio file that ``recording`` names; faults are of ``name``."""
    is_file = not recording.is_pipe and recording.offset is None
    with _named(name, recording.written, is_file=is_file):
        try:
            stream = audio_source.opened(recording)
        except audio_source.SourceError as error:
            raise _DecodeError(str(error)) from error
        with stream:
            yield stream


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[Any]:
    """The decoder of a whole audio file: a ``soundfile.SoundFile`` of known, positive length."""
    size = stream.seek(0, io.SEEK_END)
    if not size:
        raise _DecodeError("the file is empty")
    with _sound(stream, size) as sound:
        if not sound.frames:
            raise _DecodeError("holds no samples")
        if sound.frames >= 1 << 36:  # FLAC counts samples in 36 bits
            raise _DecodeError("the FLAC header states no length; encode to a file, or pipe WAV")
        yield sound


def _sound(stream: BinaryIO, size: int) -> Any:
    stream.seek(0)
    start = stream.read(container.START_BYTES)
    try:
        promised.check(stream, size)
        if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
            stream = promised.repaired_wav(stream)
        parts = ogg.audio_streams(stream) if start[:4] == b"OggS" else [stream]
        sounds = [_sound_file(part) for part in parts]
        return sounds[0] if len(sounds) == 1 else ogg.Chain(sounds)
    except soundfile.LibsndfileError as error:
        what, pipe = container.unread(start) or ("", "")
        if not what:
            raise
        raise _DecodeError(f"{what}: {error.error_string}", pipe) from error
    except ValueError as error:
        raise _DecodeError(str(error)) from error


def _sound_file(stream: BinaryIO) -> Any:
    stream.seek(0)
    try:
        return soundfile.SoundFile(stream)
    except TypeError as error:  # a name ending in .raw
        raise _DecodeError("headerless audio states no sample rate; convert it to WAV") from error


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


def _container_kind(stream: BinaryIO) -> str | None:
    stream.seek(0)
    kind = container.kind(stream.read(container.START_BYTES))
    stream.seek(0)
    return kind


def _decode_channels(stream: BinaryIO, segment: Segment | None, max_s: float = math.inf) -> Channels:
    kind = _container_kind(stream)
    if kind is not None:
        try:
            samples, rate = container.decode(stream, kind, MAX_SAMPLES, max_s)
        except container.UndecodedError as error:
            raise _DecodeError(str(error), container.FFMPEG) from error
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
    start = int(segment.start_s * rate)
    end = num_frames if segment.end_s is None else int(segment.end_s * rate)
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
    except soundfile.LibsndfileError as error:
        raise _DecodeError(f"truncated or damaged: {error.error_string}") from error
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
