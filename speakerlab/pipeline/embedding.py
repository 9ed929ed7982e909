"""From sources to embeddings, each with what was found in its audio.

``embed([("utt1", source)], embedder, EmbedOptions(batch_size=8))`` yields ``Embedded`` or ``AudioError``, in
order, read ahead and batched by length (``embed.batching``). Long recordings are embedded in windows: what
the network needs does not grow with them.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speakerlab import logs
from speakerlab.embed import speech_check, windows
from speakerlab.embed.batching import Input, Outcome, embedded
from speakerlab.embed.speech_check import SpeechCheck
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.io import audio
from speakerlab.pipeline.sources import Source
from speakerlab.types import Float32Array, RecId, Segment, UttId, Waveform

if TYPE_CHECKING:
    from speakerlab.embed.extractor import Extractor  # and torch with it
    from speakerlab.embed.session import Session

FEW = 20  # utterances that need no progress bar


@dataclass(frozen=True)
class EmbedOptions:
    """How recordings are embedded.

    Attributes:
        batch_size: inputs that go through the network at once.
        channel: the one that is listened to, from 0.
        window_s: longer recordings are cut into equal windows of at most so many seconds, whose embeddings
            are averaged as ``embed.windows`` does; 0 cuts none.
    """

    batch_size: int = 1
    channel: int = 0
    window_s: float = windows.WINDOW_S

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SpeakerLabError(f"batch_size is {self.batch_size}, 1 is the least")
        if self.channel < 0:
            raise SpeakerLabError(f"channel is {self.channel}; channels count from 0")
        if not (self.window_s == 0 or 1 <= self.window_s < float("inf")):
            raise SpeakerLabError(f"window_s is {self.window_s:g}; it is 0, or 1 and more")


@dataclass(frozen=True)
class Heard:
    """What was listened to and found.

    Attributes:
        origin: path, URL, or what else it came from.
        speech: measurements and the reasons against a decision.
        model_sample_rate: rate in Hz that the model listens at.
        sample_rate: rate of the recording in Hz; where it is another, the recording was resampled.
        channel: the channel listened to, from 0.
        num_channels: how many there are. These three are None for features.
    """

    origin: str
    speech: SpeechCheck
    model_sample_rate: int
    sample_rate: int | None = None
    channel: int | None = None
    num_channels: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values under the names of the attributes."""
        found = self.speech
        return {
            "origin": self.origin,
            "sample_rate": self.sample_rate,
            "model_sample_rate": self.model_sample_rate,
            "channel": self.channel,
            "num_channels": self.num_channels,
            "duration_s": found.duration_s,
            "speech_s": found.speech_s,
            "level_db": found.level_db,
            "clipped": found.clipped,
            "bandwidth_hz": found.bandwidth_hz,
        }


@dataclass(frozen=True)
class Embedded:
    """An embedding, float32 [E], not normalised, and what it was made from."""

    embedding: Float32Array
    heard: Heard


@dataclass(frozen=True)
class Piece:
    """Model input of a recording, or of a window of a long one.

    Attributes:
        values: frames [T, F] or samples [S].
        seconds: its length.
        speech_s: seconds of speech in it, where it is a window.
    """

    values: Float32Array
    seconds: float
    speech_s: float = 0.0


@dataclass(frozen=True)
class _Part:
    """What is known of a piece beside its values: the place of its recording in the list, and its weights."""

    place: int
    heard: Heard | None = None
    seconds: float = 0.0
    speech_s: float = 0.0


def embed(
    sources: Sequence[tuple[str, Source]], embedder: Extractor | WaveformGraph, options: EmbedOptions
) -> Iterator[Embedded | AudioError]:
    """The embedding of each ``(key, source)``, or why it has none, in their order."""
    inputs = (
        one
        for place, (key, source) in enumerate(sources)
        for one in _inputs(place, key, source, embedder, options)
    )
    parts = embedded(inputs, embedder.session, options.batch_size)
    found = (_joined(members) for _, members in itertools.groupby(parts, key=lambda pair: pair[0].place))
    yield from logs.progress(found, "utterances", len(sources)) if len(sources) > FEW else found


def _inputs(
    place: int, key: str, source: Source, embedder: Extractor | WaveformGraph, options: EmbedOptions
) -> Iterator[Input[_Part]]:
    try:
        heard, pieces = listen(key, source, embedder, options)
        for piece in pieces:
            part = _Part(place, heard, piece.seconds, piece.speech_s)
            yield Input(key, source.origin, part, piece.values)
    except (AudioError, DataError) as error:
        why = error.why if isinstance(error, AudioError) else str(error)
        named = why if source.origin in why else f"{source.origin}: {why}"
        yield Input(key, source.origin, _Part(place), AudioError(key, named))


def _joined(members: Iterable[tuple[_Part, Outcome]]) -> Embedded | AudioError:
    """The embedding of a recording by its pieces, of which there is one at least; else the first error."""
    average, errors = windows.Average(), []
    for part, outcome in members:
        heard = part.heard
        if isinstance(outcome, AudioError):
            errors.append(outcome)
        else:
            average.add(outcome, part.speech_s, part.seconds)
    if errors or heard is None:  # what was not heard is an error
        return errors[0]
    return Embedded(average.value(), heard)


def embed_pieces(pieces: Iterable[Piece], session: Session) -> Float32Array:
    """The embedding [E] of the pieces of one recording, one after the other."""
    average = windows.Average()
    for piece in pieces:
        average.add(session.embed([piece.values])[0], piece.speech_s, piece.seconds)
    return average.value()


def listen(
    key: str, source: Source, embedder: Extractor | WaveformGraph, options: EmbedOptions
) -> tuple[Heard, Iterator[Piece]]:
    """What was found in ``source``, and the model's inputs, made one by one.

    Speech is judged in the recording as it is; the model gets it resampled.

    Raises:
        AudioError: it cannot be read or lacks the channel; with the pieces, that it is shorter than the model
            needs or holds features of another size than the model takes; called ``key``.
    """
    found = source.read()
    if not isinstance(found, audio.Channels):
        return _listen_to_features(key, source, found, embedder, options)
    waveform = audio.one_channel(key, found, options.channel)
    if found.samples.shape[1] > 1:
        _say_channel(options.channel)
    heard = Heard(
        source.origin,
        speech_check.check(waveform),
        embedder.sample_rate,
        waveform.sample_rate,
        options.channel,
        found.samples.shape[1],
    )
    return heard, _pieces(key, audio.resample(waveform, embedder.sample_rate), embedder, options.window_s)


def _pieces(
    key: str, waveform: Waveform, embedder: Extractor | WaveformGraph, window_s: float
) -> Iterator[Piece]:
    spans = _spans(len(waveform.samples), waveform.sample_rate, window_s)
    if len(spans) > 1:
        _say_windows(window_s)
    for start, end in spans:
        part = Waveform(waveform.samples[start:end], waveform.sample_rate)
        speech_s = (speech_check.check(part).speech_s or 0.0) if len(spans) > 1 else 0.0
        yield Piece(embedder.from_waveform(key, part), part.duration_s, speech_s)


def _spans(length: int, rate: float, window_s: float) -> list[tuple[int, int]]:
    """Where the windows of ``length`` values, ``rate`` a second, begin and end."""
    whole = Segment(UttId("recording"), RecId("recording"))
    parts = windows.cut(whole, length / rate, window_s)
    edges = [int(part.start_s * rate) for part in parts]
    return list(itertools.pairwise([*edges, length]))


@functools.cache  # once per process and channel
def _say_channel(channel: int) -> None:
    logging.info("of recordings with several channels, channel %d (from 0) is listened to", channel)


@functools.cache  # once per process and length
def _say_windows(window_s: float) -> None:
    logging.info(
        "recordings of more than %g s are embedded in windows of at most so many seconds, and the embeddings "
        "averaged",
        window_s,
    )


def _listen_to_features(
    key: str, source: Source, feats: Float32Array, embedder: Extractor | WaveformGraph, options: EmbedOptions
) -> tuple[Heard, Iterator[Piece]]:
    if isinstance(embedder, WaveformGraph):
        raise AudioError(key, f"{embedder.path} takes no features; give the bundle it is of")
    found = speech_check.check_features(feats, embedder.frame_shift_s)
    heard = Heard(source.origin, found, embedder.sample_rate)
    spans = _spans(len(feats), 1 / embedder.frame_shift_s, options.window_s)
    pieces = (
        Piece(embedder.from_features(key, feats[start:end]), (end - start) * embedder.frame_shift_s)
        for start, end in spans
    )
    return heard, pieces
