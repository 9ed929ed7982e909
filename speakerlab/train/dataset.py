"""Training examples: random crops with their class, drawn so that nothing depends on worker counts.

``CropSampler(...)`` yields batches of ``CropKey(epoch, draw, utt, view)``; ``CropDataset[key]`` makes the
crop from a generator seeded by (seed, epoch, draw, view), so a resumed or re-sharded run sees the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from speakerlab.augment.pipeline import Augmenter
from speakerlab.augment.spec_augment import spec_augment
from speakerlab.augment.speed import change_speed
from speakerlab.errors import AudioError, ConfigError, DataError, SpeakerLabError
from speakerlab.frontend.cmvn import apply_cmvn
from speakerlab.io import audio, stored
from speakerlab.io.ark import FeatureTable
from speakerlab.io.retry import retried
from speakerlab.train.experiment import ExperimentConfig, SamplingConfig
from speakerlab.types import Float32Array, RecId, Recording, Segment, Utterance

OTHERS = 1 << 30  # a seed no view has, for the utterances that stand in for unusable ones
MAX_OTHERS = 50
TRIES = 5  # places tried in an utterance before it is called silent


class CropKey(NamedTuple):
    """Which crop of the whole run: epoch, number of the draw in it, utterance drawn, which of its views."""

    epoch: int
    draw: int
    utt: int
    view: int = 0


class CropSampler:
    """Batches of crop keys for one process; every process sees a different part of each batch.

    Args:
        durations_s: seconds of each utterance, [N].
        batch_size: crops per optimiser step over all processes; a multiple of views * world.
    """

    def __init__(
        self,
        durations_s: npt.NDArray[np.float64],
        config: SamplingConfig,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        counts = np.maximum(1, np.round(durations_s / config.crop_s)).astype(int)
        self._utts = np.repeat(np.arange(len(durations_s)), counts)
        self._num_crops = config.crops_per_epoch or len(self._utts)
        self._views, self._seed, self._rank, self._world = config.views, seed, rank, world
        self._draws = batch_size // config.views  # per batch
        self.epoch = 0
        if batch_size % (config.views * world):
            raise ConfigError("train", [f"batch_size: {batch_size} is no multiple of {config.views * world}"])
        if batch_size < 2 * world:
            why = f"batch_size: {batch_size} leaves one crop to each of {world} processes; give two"
            raise ConfigError("train", [why])
        if len(self) == 0:
            raise DataError("training data", f"{self._num_crops} crops do not fill a batch of {batch_size}")

    def __len__(self) -> int:
        """Batches in an epoch; the incomplete last one is dropped."""
        return self._num_crops // (self._draws * self._views)

    def __iter__(self) -> Iterator[list[CropKey]]:
        """Batches of this process for ``self.epoch``."""
        rng = np.random.default_rng((self._seed, self.epoch))
        rounds = -(-len(self) * self._draws // len(self._utts))
        order = np.concatenate([rng.permutation(self._utts) for _ in range(rounds)])
        for batch in range(len(self)):
            first = batch * self._draws
            draws = range(first + self._rank, first + self._draws, self._world)
            yield [
                CropKey(self.epoch, draw, int(order[draw]), view)
                for view in range(self._views)
                for draw in draws
            ]


class CropSource(Protocol):
    """Where crops come from: waveforms or stored features."""

    @property
    def speeds(self) -> Sequence[float]:
        """Speed factors; each besides the first makes new classes."""
        ...

    def name(self, utt: int) -> str:
        """The id of utterance ``utt``."""
        ...

    def crop(self, utt: int, speed: float, rng: np.random.Generator) -> torch.Tensor:
        """Raw features [T, F] of a random crop of utterance ``utt`` at ``speed``."""
        ...


class WaveformSource:
    """Crops cut from audio files: speed, augmentation and features are computed on the fly."""

    def __init__(
        self,
        recordings: Mapping[RecId, Recording],
        utterances: Sequence[Utterance],
        durations_s: npt.NDArray[np.float64],
        config: ExperimentConfig,
        augmenter: Augmenter,
    ) -> None:
        self._recordings, self._utterances, self._durations_s = recordings, utterances, durations_s
        self._crop_s = config.sampling.crop_s
        self.speeds: Sequence[float] = config.sampling.speeds
        self._frontend = config.embedder.frontend.build()
        section = config.frontend.config
        self._dither = getattr(section, "dither", 0.0) / getattr(section, "scale", 1.0)
        self._augmenter = augmenter

    def name(self, utt: int) -> str:
        """See ``CropSource``."""
        return str(self._utterances[utt].utt_id)

    def crop(self, utt: int, speed: float, rng: np.random.Generator) -> torch.Tensor:
        """See ``CropSource``; an utterance shorter than the crop is repeated."""
        samples = change_speed(self._read(utt, self._crop_s * speed, rng), speed)
        length = round(self._crop_s * self._frontend.sample_rate)
        if len(samples) < length:
            samples = np.tile(samples, -(-length // len(samples)))
        augmented = self._augmenter(samples[:length], rng)
        if self._dither:
            augmented = augmented + np.float32(self._dither) * rng.standard_normal(length, dtype=np.float32)
        feats: torch.Tensor = self._frontend(torch.from_numpy(augmented))
        return feats

    def _read(self, utt: int, wanted_s: float, rng: np.random.Generator) -> Float32Array:
        segment = self._utterances[utt].segment
        recording = self._recordings[segment.rec_id]
        room_s = self._durations_s[utt] - wanted_s
        if room_s <= 0:
            return self._samples(recording, segment)
        for attempt in range(TRIES):
            start_s = segment.start_s + rng.uniform(0, room_s)
            piece = replace(segment, start_s=start_s, end_s=start_s + wanted_s)
            try:
                return self._samples(recording, piece)
            except AudioError:  # a pause may be digital silence; another place decides
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _samples(self, recording: Recording, segment: Segment) -> Float32Array:
        return retried(lambda: audio.read(recording, segment, self._frontend.sample_rate)).samples


class FeatureSource:
    """Crops cut from ``feats.scp``: no waveform perturbation, one speed."""

    speeds: Sequence[float] = (1.0,)

    def __init__(
        self,
        feats: FeatureTable,
        utterances: Sequence[Utterance],
        crop_frames: int,
        dim: int,
        voiced: FeatureTable | None = None,
    ) -> None:
        self._feats, self._utterances, self._voiced = feats, utterances, voiced
        self._crop_frames, self._dim = crop_frames, dim

    def name(self, utt: int) -> str:
        """See ``CropSource``."""
        return str(self._utterances[utt].utt_id)

    def crop(self, utt: int, speed: float, rng: np.random.Generator) -> torch.Tensor:  # noqa: ARG002
        """See ``CropSource``; an utterance shorter than the crop is repeated."""
        utt_id = self._utterances[utt].utt_id
        feats = stored.features(self._feats, utt_id, self._dim)
        if self._voiced is not None:
            feats = stored.speech(utt_id, feats, stored.voiced(self._voiced, utt_id))
        if len(feats) == 0:
            raise AudioError(utt_id, "no frame of speech")
        feats = np.tile(feats, (-(-self._crop_frames // len(feats)), 1))
        start = int(rng.integers(len(feats) - self._crop_frames + 1))
        return torch.from_numpy(feats[start : start + self._crop_frames].copy())


class Batch(NamedTuple):
    """Crops [B, T, F] with their labels [B], and why other utterances than those drawn had to stand in."""

    feats: torch.Tensor
    labels: torch.Tensor
    failures: dict[str, str]


@dataclass(frozen=True)
class CropDataset(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Normalised crops [T, F] and their class: speaker, or speaker at another speed.

    Attributes:
        spk_classes: class of each utterance's speaker at speed 1.
        num_speakers: speed number k adds k * num_speakers to the class.
        left_out: ids of utterances that give no crops: others take their place in every batch.
        max_fail_rate: share of the utterances that may turn out to be unusable; above 0, others also take the
            place of these.
    """

    source: CropSource
    spk_classes: npt.NDArray[np.int64]
    num_speakers: int
    config: ExperimentConfig
    left_out: frozenset[str] = frozenset()
    max_fail_rate: float = 0.0

    @property
    def num_classes(self) -> int:
        """Speakers times speeds."""
        return self.num_speakers * len(self.source.speeds)

    def __getitem__(self, key: CropKey) -> tuple[torch.Tensor, int]:
        """The crop ``key`` names, the same at every call; its views are of different utterances.

        Raises:
            AudioError: its utterance cannot be used.
        """
        draw = (self.config.seed, key.epoch, key.draw)
        utt = self._utterance(key)
        copy = int(np.random.default_rng(draw).integers(len(self.source.speeds)))  # for all views
        rng = np.random.default_rng((*draw, key.view + 1))
        feats = self.source.crop(utt, self.source.speeds[copy], rng)
        feats = apply_cmvn(feats, self.config.cmvn)
        if not torch.isfinite(feats).all():
            raise AudioError(self.source.name(utt), "NaN or Inf features after the front end and CMVN")
        feats = spec_augment(feats, self.config.augment.spec_augment, rng)
        return feats, int(self.spk_classes[utt]) + copy * self.num_speakers

    def _utterance(self, key: CropKey) -> int:
        """The utterance of ``key.view``: the one drawn, then others of its speaker, drawn with it.

        Crops of one recording are told by its channel; what should be alike is the voice. One with fewer
        utterances than views gives some of them again.
        """
        if key.view == 0:
            return key.utt
        known = self._utterances_of[int(self.spk_classes[key.utt])]
        others = [utt for utt in known.tolist() if utt != key.utt]
        rng = np.random.default_rng((self.config.seed, key.epoch, key.draw, OTHERS + 1))
        chosen = [key.utt, *rng.permutation(others).astype(int).tolist()]
        return int(chosen[key.view % len(chosen)])

    @cached_property
    def _utterances_of(self) -> dict[int, npt.NDArray[np.int64]]:
        """The utterances of each class that give crops."""
        names = map(self.source.name, range(len(self.spk_classes)))
        places = np.flatnonzero([name not in self.left_out for name in names])
        places = places[np.argsort(self.spk_classes[places], kind="stable")]
        classes, firsts = np.unique(self.spk_classes[places], return_index=True)
        return dict(zip(classes.tolist(), np.split(places, firsts[1:]), strict=True))

    def __getitems__(self, keys: Sequence[CropKey]) -> Batch | SpeakerLabError:
        """The batch of ``keys``, which the loader asks for as a whole; or why there is none.

        The error is returned: one raised in a loader process would arrive as a RuntimeError with its
        traceback for a message.
        """
        failures: dict[str, str] = {}
        crops: dict[CropKey, tuple[torch.Tensor, int]] = {}
        draws: dict[int, list[CropKey]] = {}
        for key in keys:
            draws.setdefault(key.draw, []).append(key)
        try:
            for group in draws.values():
                crops.update(zip(group, self._views(group, failures), strict=True))
        except SpeakerLabError as error:
            return error
        feats, labels = zip(*(crops[key] for key in keys), strict=True)
        return Batch(torch.stack(feats), torch.tensor(labels), failures)

    def _views(self, keys: Sequence[CropKey], failures: dict[str, str]) -> list[tuple[torch.Tensor, int]]:
        """The crops of all views of one draw: where an utterance cannot be used, of another one."""
        draw = (self.config.seed, keys[0].epoch, keys[0].draw)
        others = np.random.default_rng((*draw, OTHERS)).integers(len(self.spk_classes), size=MAX_OTHERS)
        for utt in (keys[0].utt, *others.tolist()):
            if self.source.name(utt) in self.left_out:
                continue
            try:
                return [self[key._replace(utt=utt)] for key in keys]
            except AudioError as error:
                if not self.max_fail_rate:
                    raise
                failures[error.name] = " ".join(error.why.split())
        raise DataError("training data", f"{MAX_OTHERS} utterances drawn in a row cannot be used")


def collate(batch: Any) -> Any:
    """What the loader hands on: ``CropDataset`` makes whole batches."""
    return batch
