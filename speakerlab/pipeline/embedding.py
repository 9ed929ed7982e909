"""From sources to embeddings, each with what was found in its audio.

``embed([("utt1", source)], embedder, EmbedOptions(batch_size=8))`` yields ``Embedded`` or ``AudioError``, in
order, read ahead and batched by length (``embed.batching``).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speakerlab import logs
from speakerlab.embed import speech_check
from speakerlab.embed.batching import Input, embedded
from speakerlab.embed.speech_check import SpeechCheck
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.io import audio
from speakerlab.pipeline.sources import Source
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.embed.extractor import Extractor  # and torch with it

FEW = 20  # utterances that need no progress bar


@dataclass(frozen=True)
class EmbedOptions:
    """How many utterances go through the network at once, and which channel, from 0, is listened to."""

    batch_size: int = 1
    channel: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SpeakerLabError(f"batch_size is {self.batch_size}, 1 is the least")
        if self.channel < 0:
            raise SpeakerLabError(f"channel is {self.channel}; channels count from 0")


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


def embed(
    sources: Sequence[tuple[str, Source]], embedder: Extractor | WaveformGraph, options: EmbedOptions
) -> Iterator[Embedded | AudioError]:
    """The embedding of each ``(key, source)``, or why it has none, in their order."""
    inputs = (_input(key, source, embedder, options.channel) for key, source in sources)
    found = embedded(inputs, embedder.session, options.batch_size)
    for heard, outcome in logs.progress(found, "utterances", len(sources)) if len(sources) > FEW else found:
        if isinstance(outcome, AudioError):
            yield outcome
        elif heard is not None:  # as it is with every embedding
            yield Embedded(outcome, heard)


def _input(
    key: str, source: Source, embedder: Extractor | WaveformGraph, channel: int
) -> Input[Heard | None]:
    try:
        feats, heard = listen(key, source, embedder, channel)
    except (AudioError, DataError) as error:
        why = error.why if isinstance(error, AudioError) else str(error)
        named = why if source.origin in why else f"{source.origin}: {why}"
        return Input(key, source.origin, None, AudioError(key, named))
    return Input(key, source.origin, heard, feats)


def listen(
    key: str, source: Source, embedder: Extractor | WaveformGraph, channel: int = 0
) -> tuple[Float32Array, Heard]:
    """Model input of ``source``, and what was found in it.

    Speech is judged in the recording as it is; the model gets it resampled.

    Raises:
        AudioError: it cannot be read, lacks ``channel``, is shorter than the model needs, or holds features
            of another size than the model takes; called ``key``.
    """
    found = source.read()
    if not isinstance(found, audio.Channels):
        return _listen_to_features(key, source, found, embedder)
    waveform = audio.one_channel(key, found, channel)
    if found.samples.shape[1] > 1:
        _say_channel(channel)
    heard = Heard(
        source.origin,
        speech_check.check(waveform),
        embedder.sample_rate,
        waveform.sample_rate,
        channel,
        found.samples.shape[1],
    )
    return embedder.from_waveform(key, audio.resample(waveform, embedder.sample_rate)), heard


@functools.cache  # once per process and channel
def _say_channel(channel: int) -> None:
    logging.info("of recordings with several channels, channel %d (from 0) is listened to", channel)


def _listen_to_features(
    key: str, source: Source, feats: Float32Array, embedder: Extractor | WaveformGraph
) -> tuple[Float32Array, Heard]:
    if isinstance(embedder, WaveformGraph):
        raise AudioError(key, f"{embedder.path} takes no features; give the bundle it is of")
    inputs = embedder.from_features(key, feats)
    found = speech_check.check_features(feats, embedder.frame_shift_s)
    return inputs, Heard(source.origin, found, embedder.sample_rate)
