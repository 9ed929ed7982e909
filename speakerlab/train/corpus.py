"""What training reads from a data dir: durations, classes, and the source of crops.

``corpus = TrainCorpus.load(Path("data/train"), config)``; ``corpus.dataset(augmenter)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speakerlab.augment.pipeline import Augmenter
from speakerlab.data.datadir import DataDir
from speakerlab.data.durations import durations_s
from speakerlab.errors import DataError
from speakerlab.io import audio
from speakerlab.io.ark import FeatureTable
from speakerlab.train.dataset import CropDataset, FeatureSource, WaveformSource
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.types import Float32Array


@dataclass(frozen=True)
class TrainCorpus:
    """A data dir with a speaker for every utterance.

    Attributes:
        durations_s: seconds of each utterance, [N], in utterance order.
        speakers: sorted speaker ids; the place is the class.
    """

    data: DataDir
    durations_s: npt.NDArray[np.float64]
    speakers: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> TrainCorpus:
        """Read ``path``; durations come from segments, utt2dur, or the audio headers.

        Raises:
            DataError: an utterance without speaker, or fewer than two speakers.
        """
        data = DataDir.load(path)
        nobody = [u.utt_id for u in data.utterances if u.spk_id is None]
        if nobody:
            raise DataError(path / "utt2spk", f"{nobody[0]} has no speaker ({len(nobody)} such utterances)")
        speakers = tuple(sorted(data.spk2utt()))
        if len(speakers) < 2:
            raise DataError(path, f"{len(speakers)} speaker; training needs at least two")
        return cls(data, np.array(list(durations_s(data).values())), speakers)

    def spk_classes(self) -> npt.NDArray[np.int64]:
        """Class of each utterance's speaker, int64 [N]."""
        classes = {spk_id: number for number, spk_id in enumerate(self.speakers)}
        return np.array([classes[str(u.spk_id)] for u in self.data.utterances], dtype=np.int64)

    def waveform_dataset(self, config: ExperimentConfig, augmenter: Augmenter) -> CropDataset:
        """Crops cut from the audio files, perturbed on the fly."""
        source = WaveformSource(
            self.data.recordings, self.data.utterances, self.durations_s, config, augmenter
        )
        return CropDataset(source, self.spk_classes(), len(self.speakers), config)

    def feature_dataset(self, config: ExperimentConfig, *, use_vad: bool) -> CropDataset:
        """Crops cut from ``feats.scp``; with ``use_vad`` of the frames ``vad.scp`` calls speech."""
        frontend = config.frontend.build()
        source = FeatureSource(
            FeatureTable(self.data.path / "feats.scp"),
            self.data.utterances,
            frontend.num_frames(round(config.sampling.crop_s * frontend.sample_rate)),
            frontend.dim,
            FeatureTable(self.data.path / "vad.scp") if use_vad else None,
        )
        return CropDataset(source, self.spk_classes(), len(self.speakers), config)


def load_waveforms(path: Path, sample_rate: int) -> list[Float32Array]:
    """Every recording of a noise or impulse-response data dir, at ``sample_rate`` Hz, in id order."""
    data = DataDir.load(path)
    return [
        audio.read(data.recordings[u.segment.rec_id], u.segment, sample_rate).samples for u in data.utterances
    ]
