"""Stored features and voice decisions: one reader checks them for training, extraction and the pipeline."""

import numpy as np
import pytest
import torch

from speakerlab import config as config_io
from speakerlab.data.datadir import DataDir
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.errors import AudioError, ConfigError
from speakerlab.io import stored
from speakerlab.io.ark import ArkWriter, FeatureTable
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.dataset import CropKey, CropSampler
from speakerlab.train.experiment import ExperimentConfig, SamplingConfig

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 8},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 8], "embed_dim": 4},
    "sampling": {"crop_s": 0.2, "speeds": [1.0]},
}
FRAMES = {"a": 30, "b": 40}


@pytest.fixture
def data_dir(tmp_path):
    """Two speakers with features of 8 dims, 0, 1, 2 ... in every dim, and every second frame voiced."""
    (tmp_path / "wav.scp").write_text("a none.wav\nb none.wav\n")
    (tmp_path / "utt2spk").write_text("a s1\nb s2\n")
    (tmp_path / "utt2dur").write_text("a 0.3\nb 0.4\n")
    write(tmp_path, {key: ramp(count) for key, count in FRAMES.items()})
    write(tmp_path, {key: np.arange(count) % 2 for key, count in FRAMES.items()}, "vad")
    return tmp_path


def ramp(count):
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], 8, axis=1)


def write(folder, arrays, name="feats"):
    with ArkWriter(folder / f"{name}.ark", folder / f"{name}.scp") as writer:
        for key, array in arrays.items():
            writer.write(key, array)


def experiment():
    return config_io.from_mapping(ExperimentConfig, SETTINGS, "test")


def crop(folder, use_vad=False):
    config = experiment()
    dataset = TrainCorpus.load(folder).feature_dataset(config, use_vad=use_vad)
    batch = dataset.__getitems__([CropKey(0, 0, 0)])
    return batch if isinstance(batch, AudioError) else (batch.feats[0], batch.labels[0])


def extracted(folder, use_vad=False):
    embedder = experiment().embedder
    extractor = Extractor(embedder, embedder.model.build(feat_dim=8))
    data = DataDir.load(folder)
    inputs = UtteranceInputs(data, extractor, feats_type="fbank", use_vad=use_vad)
    return inputs[data.utterances[0]]


def broken(value):
    feats = ramp(30)
    feats[7, 3] = value
    return {"a": feats, "b": ramp(40)}


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_features_that_are_no_numbers_are_named_with_their_archive(data_dir, value):
    write(data_dir, broken(value))
    expected = r"^a: .*feats\.scp: .*feats\.ark:\d+: NaN or Inf features"
    with pytest.raises(AudioError, match=expected):
        stored.features(FeatureTable(data_dir / "feats.scp"), "a")
    error = crop(data_dir)
    assert isinstance(error, AudioError)
    assert "feats.ark" in str(error)
    assert "NaN or Inf features" in str(error)
    with pytest.raises(AudioError, match=expected):
        extracted(data_dir)


@pytest.mark.parametrize(
    ("feats", "message"),
    [
        (np.zeros(5), r"features of shape \(5,\), not \[frames, dims\]"),
        (np.zeros((30, 9)), r"features are \(30, 9\), "),
    ],
)
def test_features_of_another_shape_are_the_fault_of_their_utterance(data_dir, feats, message):
    write(data_dir, {"a": feats, "b": ramp(40)})
    error = crop(data_dir)
    assert isinstance(error, AudioError)
    assert error.name == "a"
    with pytest.raises(AudioError, match=message):
        raise error
    with pytest.raises(AudioError, match=message):
        extracted(data_dir)


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        (np.ones(29), "30 frames but 29 voice decisions"),
        (np.full(30, np.nan), "NaN or Inf voice decisions"),
        (np.ones((30, 2)), "not a decision per frame"),
    ],
)
def test_voice_decisions_must_be_a_number_per_frame(data_dir, decisions, message):
    write(data_dir, {"a": decisions, "b": np.ones(40)}, "vad")
    error = crop(data_dir, use_vad=True)
    assert isinstance(error, AudioError)
    assert message in str(error)
    with pytest.raises(AudioError, match="^a: "):
        extracted(data_dir, use_vad=True)


@pytest.mark.parametrize("name", ["feats", "vad"])
def test_an_utterance_without_a_line_is_an_outcome(data_dir, name):
    path = data_dir / f"{name}.scp"
    path.write_text("".join(line for line in path.open() if not line.startswith("a ")))
    assert f"{name}.scp: no entry for a" in str(crop(data_dir, use_vad=True))
    with pytest.raises(AudioError, match=rf"^a: .*{name}\.scp: no entry for a"):
        extracted(data_dir, use_vad=True)


def test_a_crop_of_stored_features_by_value(data_dir):
    """0.2 s are 18 frames: of the 30, or of the 15 voiced ones once they are repeated; minus their mean."""
    feats, label = crop(data_dir)
    assert label == 0
    assert feats.shape == (18, 8)
    assert torch.allclose(feats[:, 0], torch.arange(18.0) - 8.5)
    voiced, _ = crop(data_dir, use_vad=True)
    steps = voiced[:, 0].diff()
    assert voiced.shape == (18, 8)
    assert set(steps.tolist()) == {2.0, -28.0}  # odd frames 1, 3 ... 29, then 1 again
    assert torch.allclose(voiced.mean(0), torch.zeros(8), atol=1e-5)


def test_extraction_keeps_the_voiced_frames(data_dir):
    feats = extracted(data_dir, use_vad=True)
    assert np.allclose(feats[:, 0], np.arange(1, 30, 2) - 15)


def test_a_batch_leaves_two_crops_to_every_process():
    settings = SamplingConfig(crop_s=1.0)
    with pytest.raises(ConfigError, match="batch_size: 4 leaves one crop to each of 4 processes"):
        CropSampler(np.array([9.0]), settings, 4, 0, world=4)
    assert len(CropSampler(np.array([9.0]), settings, 8, 0, world=4)) == 1
