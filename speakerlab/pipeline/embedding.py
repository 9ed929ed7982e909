"""From sources to embeddings, each with what was found in its audio.

``embed([("utt1", source)], extractor, EmbedOptions(batch_size=8))`` yields ``Embedded`` or ``AudioError``, in
order. Utterances are batched by length within a window; lengths are masked, so batching changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from speakerlab import logs
from speakerlab.embed import speech_check
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.speech_check import SpeechCheck
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.io import audio
from speakerlab.pipeline.sources import Source
from speakerlab.types import Float32Array, Waveform

WINDOW_BATCHES = 8  # so many batches are read together and sorted by length
FEW = 20  # utterances that need no progress bar


@dataclass(frozen=True)
class EmbedOptions:
    """How many utterances go through the network at once, and which channel, from 0, is listened to."""

    batch_size: int = 1
    channel: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.channel < 0:
            raise SpeakerLabError("batch_size is 1 or more, channel 0 or more")


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
        }


@dataclass(frozen=True)
class Embedded:
    """An embedding, float32 [E], not normalised, and what it was made from."""

    embedding: Float32Array
    heard: Heard


def embed(
    sources: Sequence[tuple[str, Source]], extractor: Extractor, options: EmbedOptions
) -> Iterator[Embedded | AudioError]:
    """The embedding of each ``(key, source)``, or why it has none, in their order."""
    todo = logs.progress(sources, "utterances", len(sources)) if len(sources) > FEW else iter(sources)
    while window := list(itertools.islice(todo, WINDOW_BATCHES * options.batch_size)):
        yield from _embed_window(window, extractor, options)


def _embed_window(
    window: Sequence[tuple[str, Source]], extractor: Extractor, options: EmbedOptions
) -> list[Embedded | AudioError]:
    results: dict[int, Embedded | AudioError] = {}
    inputs: dict[int, tuple[torch.Tensor, Heard]] = {}
    for place, (key, source) in enumerate(window):
        try:
            inputs[place] = listen(key, source, extractor, options.channel)
        except (AudioError, DataError) as error:
            results[place] = error if isinstance(error, AudioError) else AudioError(key, str(error))
    by_length = sorted(inputs, key=lambda place: len(inputs[place][0]))
    for start in range(0, len(by_length), options.batch_size):
        batch = by_length[start : start + options.batch_size]
        matrix = extractor.embed_features([inputs[place][0] for place in batch])
        for place, embedding in zip(batch, matrix, strict=True):
            results[place] = _checked(window[place][0], embedding, inputs[place][1])
    return [results[place] for place in range(len(window))]


def _checked(key: str, embedding: Float32Array, heard: Heard) -> Embedded | AudioError:
    if np.isfinite(embedding).all():
        return Embedded(embedding, heard)
    return AudioError(key, f"{heard.origin}: its embedding is NaN or Inf")


def listen(key: str, source: Source, extractor: Extractor, channel: int = 0) -> tuple[torch.Tensor, Heard]:
    """Model input [T, F] of ``source``, and what was found in it.

    Speech is judged in the recording as it is; the model gets it resampled.

    Raises:
        AudioError: it cannot be read, lacks ``channel``, is shorter than the model needs, or holds features
            of another size than the model takes; called ``key``.
    """
    found = source.read()
    if not isinstance(found, audio.Channels):
        return _listen_to_features(key, source, found, extractor)
    waveform = audio.one_channel(key, found, channel)
    heard = Heard(
        source.origin,
        speech_check.check(waveform),
        extractor.sample_rate,
        waveform.sample_rate,
        channel,
        found.samples.shape[1],
    )
    return extractor.normalise(key, _features(key, waveform, extractor), None), heard


def _features(key: str, waveform: Waveform, extractor: Extractor) -> torch.Tensor:
    try:
        return extractor.features(audio.resample(waveform, extractor.sample_rate))
    except ValueError as error:  # too short for a frame of this front end
        raise AudioError(key, str(error)) from error


def _listen_to_features(
    key: str, source: Source, feats: Float32Array, extractor: Extractor
) -> tuple[torch.Tensor, Heard]:
    frontend = extractor.frontend
    if feats.shape[1] != frontend.dim:
        why = f"{source.origin}: {feats.shape[1]} features per frame, the model takes {frontend.dim}"
        raise AudioError(key, why)
    found = speech_check.check_features(feats, frontend.grid.shift / extractor.sample_rate)
    heard = Heard(source.origin, found, extractor.sample_rate)
    return extractor.normalise(key, torch.from_numpy(feats), None), heard
