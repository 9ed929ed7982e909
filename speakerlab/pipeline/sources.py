"""Every form of ``audio_in``: what it names, utterance by utterance, read only when asked for.

``find(audio_in, sample_rate=16000)`` -> ``Utterances``; ``find_inputs`` takes pairs and lists of them too;
``utterances.sources["test1"].read()`` -> channels or features.
A string is a URL, ``PATH,NAME,TYPE``, or a path; whether a path is a list or audio is told by its content,
but no content has a command run: see ``allow_commands``.
"""

from __future__ import annotations

import codecs
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import read_wav_scp, refuse_commands
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.io import audio, container, download, stored
from speakerlab.io.ark import FeatureTable
from speakerlab.io.audio import Channels
from speakerlab.types import Float32Array, RecId, Recording

SINGLE = "test1"  # key of a recording that has none, as in the contract's examples
SCHEMES = ("http", "https", "file")
TYPES = ("sound", "kaldi_ark")
UNNAMED = ("bytes", "array")  # origins that are no path or URL
RAW_SUFFIXES = (".pcm", ".raw")
FULL_SCALE = {"int8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}
MAX_CHANNELS = 32  # more columns are a transposed array
_SNIFFED_BYTES = 4096
_MAGIC = (b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"riff\x2e\x91\xcf\x11", b"NIST_1A", b"\x1aE\xdf\xa3")
_RIFF = (b"RIFF", b"RIFX", b"RF64", b"FORM")
_MP3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # layer III of MPEG 1
_MP3_KBPS_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # of MPEG 2 and 2.5
_MP3_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
FORMS = "a URL, a path, a wav.scp, 'feats.scp,speech,kaldi_ark', bytes, an array or a tensor"


@dataclass(frozen=True)
class Source:
    """One utterance: ``origin`` says in a few words where it is, ``read`` gets all channels or features."""

    origin: str
    read: Callable[[], Channels | Float32Array]
    is_named: bool = False  # whether origin is a path or URL


@dataclass(frozen=True)
class Utterances:
    """What one ``audio_in`` names.

    Attributes:
        sources: utterances by key.
        is_list: whether the form is a list, even of one.
        recordings: the lines of a ``wav.scp``; ``path`` is that file.
    """

    sources: Mapping[str, Source]
    is_list: bool
    recordings: Mapping[RecId, Recording] = field(default_factory=dict)
    path: Path = Path()


def find(audio_in: Any, sample_rate: int, key: str = SINGLE, *, allow_commands: bool = False) -> Utterances:
    """The utterances that one ``audio_in`` names.

    Args:
        audio_in: one of the forms.
        sample_rate: of what states none, in Hz: raw PCM (mono, 16-bit, little-endian), arrays and tensors.
        key: what a single recording is called.
        allow_commands: whether entries ``... |`` of a list named ``*.scp`` may run. Other names never do.

    Raises:
        SpeakerLabError: nothing known, or empty; a command that may not run.
        DataError: a list that is not one.
    """
    found = _find(audio_in, sample_rate, key)
    if allow_commands:
        refuse_commands(found.path, found.recordings)
        return found
    for rec_id, recording in found.recordings.items():
        if recording.is_pipe:
            fix = "commands run only with allow_commands=True"
            raise DataError(found.path, f"'{rec_id}' is a command", fix)
    return found


def _find(audio_in: Any, sample_rate: int, key: str) -> Utterances:
    if isinstance(audio_in, Path):
        return _of_path(audio_in, sample_rate, key)
    if isinstance(audio_in, str):
        return _of_text(audio_in, sample_rate, key)
    if isinstance(audio_in, bytes | bytearray | memoryview):
        return _one(key, UNNAMED[0], partial(_of_bytes, key, bytes(audio_in), sample_rate))
    if isinstance(audio_in, np.ndarray) or _is_tensor(audio_in):
        return _one(key, UNNAMED[1], partial(_of_array, key, audio_in, sample_rate))
    raise SpeakerLabError(f"audio_in is a {type(audio_in).__name__}; give {FORMS}")


def of_data_dir(path: Path) -> dict[str, Source]:
    """The utterances of the data dir ``path`` by id; pipes in its ``wav.scp`` run.

    Raises:
        DataError: see ``DataDir.load``.
    """
    data = DataDir.load(path)
    found = {}
    for utterance in data.utterances:
        segment = utterance.segment
        recording = data.recordings[segment.rec_id]
        read = partial(audio.read_channels, recording, segment)
        found[str(segment.utt_id)] = Source(recording.written, read, not recording.is_pipe)
    return found


def find_one(audio_in: Any, sample_rate: int) -> Source:
    """The one recording that ``audio_in`` is.

    Raises:
        SpeakerLabError: see ``find``; or it is a list.
    """
    found = _find(audio_in, sample_rate, SINGLE)
    if found.is_list:
        raise SpeakerLabError(f"{audio_in} is a list of recordings; give one")
    return found.sources[SINGLE]


def find_inputs(audio_in: Any, sample_rate: int, *, allow_commands: bool = False) -> list[Utterances]:
    """The input of an ``audio_in``, or the two of a pair, which then have the same keys in the same order.

    A tuple or list of two is a pair; against a list of recordings, a single one stands for all of its keys.
    A list of any other number is one input with the keys ``test1``, ``test2`` ...

    Raises:
        SpeakerLabError: see ``find``; a tuple of another number, an empty list, a list inside one.
        DataError: two lists of different keys.
    """
    if not isinstance(audio_in, list | tuple):
        return [find(audio_in, sample_rate, allow_commands=allow_commands)]
    if len(audio_in) == 2:
        return _paired(*(find(one, sample_rate, allow_commands=allow_commands) for one in audio_in))
    if isinstance(audio_in, tuple) or not audio_in:
        raise SpeakerLabError(f"audio_in holds {len(audio_in)} recordings; give one, a pair or a list")
    sources: dict[str, Source] = {}
    for number, one in enumerate(audio_in, 1):
        found = _find(one, sample_rate, f"test{number}")
        if found.is_list:
            raise SpeakerLabError(f"{one} is a list of recordings inside a list; give it alone")
        sources.update(found.sources)
    return [Utterances(sources, is_list=True)]


def _paired(first: Utterances, second: Utterances) -> list[Utterances]:
    """Both under the keys of the first; a single recording stands for every key of a list."""
    if first.is_list and not second.is_list:
        second = Utterances(dict.fromkeys(first.sources, second.sources[SINGLE]), is_list=True)
    elif second.is_list and not first.is_list:
        first = Utterances(dict.fromkeys(second.sources, first.sources[SINGLE]), is_list=True)
    a, b = first.sources.keys(), second.sources.keys()
    if a != b:
        alone = [(keys, name) for keys, name in ((a - b, "first"), (b - a, "second")) if keys]
        counts = "; ".join(f"{len(keys)} only in the {name}, such as {min(keys)}" for keys, name in alone)
        raise DataError("audio_in", f"the two lists have other keys: {counts}", "give both the same keys")
    return [first, Utterances({key: second.sources[key] for key in a}, second.is_list)]


def _one(key: str, origin: str, read: Callable[[], Channels | Float32Array]) -> Utterances:
    return Utterances({key: Source(origin, read, is_named=origin not in UNNAMED)}, is_list=False)


def _of_text(text: str, sample_rate: int, key: str) -> Utterances:
    if not text:
        raise SpeakerLabError(f"audio_in is empty; give {FORMS}")
    if "\0" in text:
        raise SpeakerLabError(f"{text[:40]!r} is no path: it holds a zero byte")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme:
        if re.search(r"[\x00-\x1f]|%00", text):
            raise SpeakerLabError(f"{text[:40]!r} is no URL: it holds a control character")
        if scheme[1].lower() not in SCHEMES:
            raise SpeakerLabError(f"{text}: {scheme[1]} is not one of {', '.join(SCHEMES)}")
        return _one(key, text, partial(_of_url, key, text))
    exists = _exists(text)
    described = re.fullmatch(r"(.+),\w+,(\w+)", text)
    if described and not exists:
        return _of_list(Path(described[1]), described[2])
    return _of_path(Path(text), sample_rate, key)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError as error:  # a name that is too long, such as audio in base64
        raise SpeakerLabError(f"{text[:40]}...: is no path: {error.strerror}") from error


def _of_path(path: Path, sample_rate: int, key: str) -> Utterances:
    if path.is_dir():
        raise DataError(path, "is a folder", "give a recording or a wav.scp in it")
    if path.suffix.lower() in RAW_SUFFIXES:
        return _one(key, str(path), lambda: _of_pcm(key, _content(key, path), sample_rate))
    if _is_text(path):
        return _of_list(path, "sound")
    recording = Recording(RecId(key), str(path))
    return _one(key, str(path), partial(audio.read_channels, recording))


def _is_text(path: Path) -> bool:
    """Whether ``path`` begins as UTF-8 text does, which no audio file does."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_SNIFFED_BYTES)
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except (OSError, UnicodeDecodeError):  # who opens it says why it cannot be read
        return False
    return bool(start) and b"\0" not in start


def _of_list(path: Path, kind: str) -> Utterances:
    """The utterances of a ``wav.scp`` or, with ``kaldi_ark``, of an scp of features."""
    if kind not in TYPES:
        raise SpeakerLabError(f"{path}: type '{kind}' is not one of {', '.join(TYPES)}")
    if kind == "kaldi_ark":
        table = FeatureTable(path)
        return Utterances(
            {k: Source(f"{path} {k}", partial(stored.features, table, k)) for k in table}, is_list=True
        )
    recordings = read_wav_scp(path)
    found = {
        str(rec_id): Source(one.written, partial(audio.read_channels, one), not one.is_pipe)
        for rec_id, one in recordings.items()
    }
    return Utterances(found, is_list=True, recordings=recordings, path=path)


def _content(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AudioError(key, f"{path}: cannot be read: {error.strerror}") from error


def _of_url(key: str, url: str) -> Channels:
    """What ``url`` serves, within the limits of ``io.download``, decoded as an audio file."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:  # brackets that hold no IPv6 address
        raise AudioError(key, f"{url}: is no URL: {error}") from error
    if parts.path.lower().endswith(RAW_SUFFIXES):
        raise AudioError(key, f"{url}: raw PCM has no header; fetch it and give its bytes")
    if parts.scheme.lower() == "file":
        if parts.netloc.lower() not in ("", "localhost"):
            raise AudioError(key, f"{url}: names another machine; write file:///PATH")
        return audio.read_channels(Recording(RecId(key), urllib.request.url2pathname(parts.path)))
    with download.opened(key, url) as stream:
        return audio.decode_channels(key, stream, url)


def _of_bytes(key: str, data: bytes, sample_rate: int) -> Channels:
    """A whole audio file if ``data`` begins as one, be it of a kind that cannot be read, else raw PCM."""
    is_riff = data[:4] in _RIFF and data[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    start = data[: container.START_BYTES]
    is_other = container.kind(start) is not None or container.unread(start) is not None
    if is_riff or is_other or data.startswith(_MAGIC) or _is_mp3(data):
        return audio.decode_channels(key, data, UNNAMED[0])
    return _of_pcm(key, data, sample_rate)


def _is_mp3(data: bytes) -> bool:
    """Whether two MP3 frames stand at the beginning: one alone may be samples (ISO 11172-3, 2.4.1.3)."""
    length = _mp3_frame_bytes(data[:4])
    again = data[length : length + 4]
    return length > 0 and _mp3_frame_bytes(again) > 0 and again[1] == data[1]


def _mp3_frame_bytes(header: bytes) -> int:
    """Length of the frame with this header; 0 where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # sync, layer III
        return 0
    version, rate, sampling = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or rate in {0, 15} or sampling == 3:
        return 0
    kbps = (_MP3_KBPS if version == 3 else _MP3_KBPS_LOW)[rate - 1]
    samples = 1152 if version == 3 else 576
    return samples // 8 * 1000 * kbps // _MP3_HZ[version][sampling] + (header[2] >> 1 & 1)


def _of_pcm(key: str, data: bytes, sample_rate: int) -> Channels:
    """Raw PCM: mono, 16-bit, little-endian."""
    if not data or len(data) % 2:
        raise AudioError(key, f"{len(data)} bytes are neither an audio file nor raw 16-bit PCM")
    samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2.0**15)
    return Channels(samples[:, None], sample_rate)


def _is_tensor(value: Any) -> bool:
    """Whether it is torch's; torch, which takes a second to import, is there where it is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _of_array(key: str, array: Any, sample_rate: int) -> Channels:
    """[S], [1, S] or [S, C]: floats as they are, 8-, 16- and 32-bit integers over their full scale."""
    samples = array
    if _is_tensor(array):
        samples = (array.float() if array.is_floating_point() else array).detach().cpu().numpy()
    kind = str(samples.dtype)
    if kind not in FULL_SCALE and samples.dtype.kind != "f":
        raise AudioError(key, f"an array of {kind}; give floats in [-1, 1], int8, int16 or int32")
    if samples.ndim == 2 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(key, f"an array {samples.shape}; give samples [S], [1, S] or [S, channels]")
    if samples.ndim == 2 and samples.shape[1] > min(MAX_CHANNELS, samples.shape[0]):
        raise AudioError(
            key, f"an array {samples.shape}; channels are columns: transpose it to [S, channels]"
        )
    scaled = samples.astype(np.float32) / np.float32(FULL_SCALE.get(kind, 1.0))
    return Channels(scaled.reshape(len(scaled), -1), sample_rate)
