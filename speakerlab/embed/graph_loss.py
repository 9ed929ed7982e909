"""What a graph in reduced precision loses on real speech, and the speech it is calibrated on.

``excerpts(bundle, data)``; ``measure(bundle, Path("m.onnx"), TestSet.load(Path("data/test")))`` -> cosines to
the network in float32, both equal error rates, and the interval of their difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from speakerlab import logs
from speakerlab.backend import enrolment
from speakerlab.backend.chain import Backend
from speakerlab.backend.scoring import TrialScorer
from speakerlab.data.datadir import DataDir
from speakerlab.data.trials import read_trials
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.hub import onnx_file
from speakerlab.io import audio
from speakerlab.metrics.bootstrap import paired_bootstrap
from speakerlab.metrics.detection import detection
from speakerlab.types import EmbeddingTable, Float32Array, ScoreTable, TrialList, Utterance, Waveform

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle

NUM_UTTS = 128  # looked at to calibrate: half as many lose measurably more
EXCERPT_S = 3.0  # of each, from its middle; bounds time and memory
MIN_MEAN_COSINE = 0.9  # to float32; below, a graph is of no use


@dataclass(frozen=True)
class Loss:
    """A graph beside the network in float32.

    Attributes:
        data: name of the data dir.
        num_utts: utterances embedded.
        num_trials: trials scored.
        mean_cosine: between the two embeddings of an utterance.
        min_cosine: the lowest of them.
        eer_fp32: equal error rate of the network, cosine scores.
        eer: that of the graph.
        eer_difference: 95 % interval of ``eer`` - ``eer_fp32`` over speakers.
    """

    data: str
    num_utts: int
    num_trials: int
    mean_cosine: float
    min_cosine: float
    eer_fp32: float
    eer: float
    eer_difference: tuple[float, float]

    def as_dict(self) -> dict[str, object]:
        """What JSON can hold."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """One line for people."""
        eer_fp32, eer, low, high = (100 * x for x in (self.eer_fp32, self.eer, *self.eer_difference))
        return (
            f"cosine to fp32 {self.mean_cosine:.5f} in the mean, {self.min_cosine:.5f} at the lowest of "
            f"{self.num_utts} utterances; EER {eer_fp32:.2f} % in fp32, {eer:.2f} % here, "
            f"difference [{low:+.2f}, {high:+.2f}] (95 %, {self.num_trials} trials of {self.data})"
        )


@dataclass(frozen=True)
class TestSet:
    """Utterances whose speakers are known, and labelled trials of them."""

    data: DataDir
    trials: TrialList

    @classmethod
    def load(cls, path: Path) -> TestSet:
        """The data dir ``path`` and its list ``trials``.

        Raises:
            DataError: no data dir, no ``trials`` or ``utt2spk``, a trial of an unknown utterance.
        """
        data = DataDir.load(path)
        if not data.spk2utt():
            raise DataError(path / "utt2spk", "missing", "give the speakers: the interval is over them")
        return cls(data, read_trials(path / "trials", data.ids("utterance")))


def excerpts(bundle: Bundle, data: DataDir) -> Iterator[Float32Array]:
    """Normalised features [T, F] of ``NUM_UTTS`` utterances spread over ``data``, one at a time.

    Raises:
        DataError: audio that cannot be used.
    """
    extractor = Extractor.of_bundle(bundle)
    for utterance in _spread(data):
        try:
            recording = data.recordings[utterance.segment.rec_id]
            waveform = audio.read(recording, utterance.segment, extractor.sample_rate)
            yield extractor.from_waveform(utterance.utt_id, _middle(waveform))
        except AudioError as error:
            raise _unusable(data, error) from error


def whole(bundle: Bundle, data: DataDir) -> Iterator[Float32Array]:
    """As ``excerpts``, of whole utterances: sums over time are as large as they get."""
    inputs = _inputs(data, Extractor.of_bundle(bundle))
    for utterance in _spread(data):
        yield _feats(inputs, utterance, data)


def measure(bundle: Bundle, graph: Path, test: TestSet) -> Loss:
    """The loss of ``graph`` in ONNX Runtime on ``test``.

    Raises:
        DataError: audio that cannot be used, trials without labels or of one kind.
        SpeakerLabError: an embedding is not finite, or the mean cosine is below ``MIN_MEAN_COSINE``.
    """
    data, trials = test.data, test.trials
    expected, found = _both(bundle, graph, data)
    if not np.isfinite(found).all():
        raise _useless("gives NaN or Inf")
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    cosines = (expected * found).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    if not cosines.mean() >= MIN_MEAN_COSINE:
        raise _useless(f"has a mean cosine of {cosines.mean():.3f} to fp32, {MIN_MEAN_COSINE} is the least")
    tables = [_scores(data, trials, matrix) for matrix in (found, expected)]
    utt2spk = {str(u.utt_id): str(u.spk_id) for u in data.utterances}
    difference = paired_bootstrap(tables[0], tables[1], utt2spk, np.random.default_rng(0)).eer
    eer, eer_fp32 = (detection(table).eer for table in tables)
    return Loss(
        data=data.path.resolve().name,
        num_utts=len(cosines),
        num_trials=len(trials),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        eer_fp32=eer_fp32,
        eer=eer,
        eer_difference=(difference.low, difference.high),
    )


def _both(bundle: Bundle, graph: Path, data: DataDir) -> tuple[Float32Array, Float32Array]:
    """Embeddings [N, E] of the network and of ``graph``, in the order of the utterances."""
    extractor = Extractor.of_bundle(bundle)
    inputs = _inputs(data, extractor)
    session = onnx_file.open_session(graph, onnx_file.session_settings(torch.get_num_threads()))
    expected, found = [], []
    for utterance in logs.progress(data.utterances, "measuring the loss", len(data.utterances)):
        feats = _feats(inputs, utterance, data)
        expected.append(extractor.session.embed([feats])[0])
        found.append(session.run(["embedding"], {"feature": feats[None]})[0][0])
    return np.stack(expected), np.stack(found)


def _scores(data: DataDir, trials: TrialList, matrix: Float32Array) -> ScoreTable:
    """Cosines of the trials."""
    scorer = Backend.default().scorer
    table = EmbeddingTable(data.utt_ids, matrix, str(data.path))
    return TrialScorer(enrolment.utterances(table, scorer), enrolment.test_side(table, scorer)).score(trials)


def _spread(data: DataDir) -> list[Utterance]:
    """At most ``NUM_UTTS`` utterances at equal distances in the list."""
    size = len(data.utterances)
    places = np.linspace(0, size - 1, min(NUM_UTTS, size)).round().astype(int)
    return [data.utterances[place] for place in places]


def _middle(waveform: Waveform) -> Waveform:
    size = round(EXCERPT_S * waveform.sample_rate)
    start = max(0, (len(waveform.samples) - size) // 2)
    return replace(waveform, samples=waveform.samples[start : start + size])


def _inputs(data: DataDir, extractor: Extractor) -> UtteranceInputs:
    return UtteranceInputs(data, extractor, feats_type="raw", use_vad=False)


def _feats(inputs: UtteranceInputs, utterance: Utterance, data: DataDir) -> Float32Array:
    try:
        return inputs[utterance]
    except AudioError as error:
        raise _unusable(data, error) from error


def _unusable(data: DataDir, error: AudioError) -> DataError:
    return DataError(data.path, str(error), "mend the audio or take the utterance out of the data dir")


def _useless(why: str) -> SpeakerLabError:
    return SpeakerLabError(f"the reduced graph {why}; nothing was written, try another --precision")
