"""What training reads from a data dir: durations, classes, and the source of crops.

``corpus = TrainCorpus.load(Path("data/train"), config)``; ``corpus.dataset(augmenter)``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speakerlab.augment.pipeline import Augmenter
from speakerlab.data import sources
from speakerlab.data.datadir import DataDir
from speakerlab.data.durations import durations_s
from speakerlab.errors import AudioError, DataError
from speakerlab.io import audio
from speakerlab.io.ark import FeatureTable
from speakerlab.train.dataset import CropDataset, CropSource, FeatureSource, WaveformSource
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.types import Float32Array, Utterance

NUM_SAMPLED = 1000  # noises or rooms whose content is looked at, evenly spread; of the others only the size


@dataclass(frozen=True)
class TrainCorpus:
    """A data dir with a speaker for every utterance.

    Attributes:
        durations_s: seconds of each utterance, [N], in utterance order.
        speakers: sorted speaker ids; the place is the class.
        left_out: utterances that keep their place and give no crops.
    """

    data: DataDir
    durations_s: npt.NDArray[np.float64]
    speakers: tuple[str, ...]
    left_out: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: Path, *, tolerant: bool = False) -> TrainCorpus:
        """Read ``path``; durations come from segments, utt2dur, or the audio headers.

        Args:
            path: the data dir.
            tolerant: an utterance whose length cannot be read has 0 s; its crops will fail.

        Raises:
            DataError: an utterance without speaker, or fewer than two speakers.
            AudioError: a length that no list gives cannot be read.
        """
        data = DataDir.load(path)
        nobody = [u.utt_id for u in data.utterances if u.spk_id is None]
        if nobody:
            raise DataError(path / "utt2spk", f"{nobody[0]} has no speaker ({len(nobody)} such utterances)")
        speakers = tuple(sorted(data.spk2utt()))
        if len(speakers) < 2:
            raise DataError(path, f"{len(speakers)} speaker; training needs at least two")
        try:
            durations = list(durations_s(data).values())
        except AudioError:
            if not tolerant:
                raise
            durations = [_duration_s(data, utterance) for utterance in data.utterances]
        return cls(data, np.array(durations), speakers)

    def spk_classes(self) -> npt.NDArray[np.int64]:
        """Class of each utterance's speaker, int64 [N]."""
        classes = {spk_id: number for number, spk_id in enumerate(self.speakers)}
        return np.array([classes[str(u.spk_id)] for u in self.data.utterances], dtype=np.int64)

    def waveform_dataset(
        self, config: ExperimentConfig, augmenter: Augmenter, *, max_fail_rate: float = 0.0
    ) -> CropDataset:
        """Crops cut from the audio files, perturbed on the fly; see ``CropDataset`` for ``max_fail_rate``."""
        source = WaveformSource(
            self.data.recordings, self.data.utterances, self.durations_s, config, augmenter
        )
        return self._dataset(source, config, max_fail_rate=max_fail_rate)

    def feature_dataset(
        self, config: ExperimentConfig, *, use_vad: bool, max_fail_rate: float = 0.0
    ) -> CropDataset:
        """Crops cut from ``feats.scp``; with ``use_vad`` of the frames ``vad.scp`` calls speech."""
        frontend = config.frontend.build()
        source = FeatureSource(
            FeatureTable(self.data.path / "feats.scp"),
            self.data.utterances,
            frontend.num_frames(round(config.sampling.crop_s * frontend.sample_rate)),
            frontend.dim,
            FeatureTable(self.data.path / "vad.scp") if use_vad else None,
        )
        return self._dataset(source, config, max_fail_rate=max_fail_rate)

    def _dataset(self, source: CropSource, config: ExperimentConfig, *, max_fail_rate: float) -> CropDataset:
        return CropDataset(
            source, self.spk_classes(), len(self.speakers), config, self.left_out, max_fail_rate
        )


def _duration_s(data: DataDir, utterance: Utterance) -> float:
    """Seconds of one utterance, 0 where they cannot be read."""
    try:
        return next(iter(durations_s(replace(data, utterances=(utterance,))).values()))
    except AudioError:
        return 0.0


def identity(path: Path | None) -> str:
    """The content of a data dir of noises or rooms in a few words, wherever it lies; ``none`` without one."""
    if path is None:
        return "none"
    data = DataDir.load(path)
    states = sources.audio(data)
    every = max(1, len(data.utterances) // NUM_SAMPLED)
    digest = hashlib.sha256()
    for place, utt_id in enumerate(map(str, data.utt_ids)):
        files = states.state(utt_id, sampled=place % every == 0).split()
        undated = [file.split(":")[::2] for file in files]
        digest.update(f"{utt_id} {undated}\n".encode())
    return f"{len(data.utterances)} recordings, sha256 {digest.hexdigest()[:12]}"


def load_waveforms(path: Path, sample_rate: int) -> list[Float32Array]:
    """Every recording of a noise or impulse-response data dir, at ``sample_rate`` Hz, in id order."""
    data = DataDir.load(path)
    return [
        audio.read(data.recordings[u.segment.rec_id], u.segment, sample_rate).samples for u in data.utterances
    ]
