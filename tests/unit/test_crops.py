"""A training crop by value: every step is done again by other code, with the numbers its key must draw."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.data.datadir import DataDir
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.errors import ConfigError
from speakerlab.frontend.fbank import FbankConfig
from speakerlab.torchaudio_import import kaldi
from speakerlab.train import unused
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.dataset import CropKey
from speakerlab.train.experiment import ExperimentConfig

RATE, CROP = 16000, 8000
NOISE = np.sin(np.arange(2 * RATE) * 0.9).astype(np.float32) * 0.1
SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 24},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 8], "embed_dim": 4},
    "sampling": {"crop_s": CROP / RATE, "speeds": [1.0]},
    "seed": 3,
}


def experiment(**changes):
    return config_io.from_mapping(ExperimentConfig, config_io.merge(SETTINGS, changes), "test")


def dataset_of(folder, **changes):
    config = experiment(**changes)
    augmenter = Augmenter(config.augment, [NOISE] if config.augment.noise.probability else [], [], RATE)
    return TrainCorpus.load(folder).waveform_dataset(config, augmenter)


def samples_of(folder, number):
    """Id and samples of utterance ``number``."""
    lines = sorted((folder / "wav.scp").read_text().splitlines())
    utt_id, path = lines[number].split()
    samples, rate = soundfile.read(path if path.startswith("/") else folder / path, dtype="float32")
    assert rate == RATE
    return utt_id, samples


def generators(key, seed=3):
    """What decides the speed, and what everything else of the crop is drawn from."""
    draw = (seed, key.epoch, key.draw)
    return np.random.default_rng(draw), np.random.default_rng((*draw, key.view + 1))


def fbank(samples, num_mels=24):
    """Log mel energies of kaldi-native-fbank."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = num_mels
    online = knf.OnlineFbank(options)
    online.accept_waveform(RATE, (samples * 32768).tolist())
    return np.stack([online.get_frame(n) for n in range(online.num_frames_ready)])


def close(feats, expected):
    """Equal to what two implementations of the filters in single precision differ by."""
    assert feats.shape == expected.shape
    difference = np.abs(feats.numpy() - expected)
    assert difference.max() < 0.02
    assert difference.mean() < 1e-3


def cut(samples, rng, length=CROP):
    """A stretch from a place evenly distributed over the utterance."""
    start = rng.uniform(0, (len(samples) - length) / RATE)
    first = int(start * RATE)
    return samples[first : first + length]


@pytest.mark.parametrize("key", [CropKey(0, 0, 1), CropKey(4, 7, 9)])
def test_a_plain_crop_is_a_cut_its_features_and_their_mean_removed(key, toy_data):
    feats, label = dataset_of(toy_data / "train")[key]
    utt_id, samples = samples_of(toy_data / "train", key.utt)
    _, rng = generators(key)
    expected = fbank(cut(samples, rng))
    close(feats, expected - expected.mean(0))
    assert label == int(utt_id[1:3])


def test_another_speed_is_another_class_and_another_pitch(toy_data):
    dataset = dataset_of(toy_data / "train", sampling={"speeds": [1.0, 0.8]})
    assert dataset.num_classes == 16
    keys = [CropKey(0, draw, 5) for draw in range(20)]
    slow = next(key for key in keys if generators(key)[0].integers(2) == 1)
    feats, label = dataset[slow]
    _, samples = samples_of(toy_data / "train", 5)
    _, rng = generators(slow)
    stretched = signal.resample(cut(samples, rng, round(0.8 * CROP)), CROP)
    expected = fbank(stretched)
    # the ends ring otherwise, and the highest bands are the slope of the filter
    difference = np.abs(feats.numpy() - (expected - expected.mean(0)))[2:-2, :-3]
    assert difference.mean() < 0.01
    plain = fbank(cut(samples, generators(slow)[1]))
    assert np.abs(feats.numpy() - (plain - plain.mean(0))).mean() > 0.3
    assert label == 1 + 8


def test_augmentation_comes_before_the_features_and_masks_after_the_mean(toy_data):
    """Noise of 10 dB below, then 6 dB less; one mask over time and one over frequency."""
    augment = {
        "noise": {"probability": 1.0, "min_snr_db": 10.0, "max_snr_db": 10.0},
        "gain": {"probability": 1.0, "min_db": -6.0, "max_db": -6.0},
        "spec_augment": {"num_time_masks": 1, "max_time_frames": 9, "num_freq_masks": 1, "max_freq_bins": 5},
    }
    key = CropKey(2, 3, 9)
    feats, _ = dataset_of(toy_data / "train", augment=augment)[key]
    _, samples = samples_of(toy_data / "train", 9)
    _, rng = generators(key)
    speech = cut(samples, rng)
    rng.random()  # no reverberation
    rng.random()
    rng.integers(1)  # which noise
    rng.uniform(10, 10)
    start = rng.integers(len(NOISE) - CROP + 1)
    noise = NOISE[start : start + CROP]
    gain = np.sqrt((speech**2).mean() / (noise**2).mean() / 10)
    for _ in ("equalizer", "band limit", "gain"):
        rng.random()
    rng.uniform(-6, -6)
    expected = fbank((speech + gain * noise) * 10 ** (-6 / 20))
    expected = expected - expected.mean(0)
    masked = 0
    for axis, widest in ((0, 9), (1, 5)):
        size = expected.shape[axis]
        width = rng.integers(min(widest, size // 2) + 1)
        first = rng.integers(size - width + 1)
        expected[(slice(None),) * axis + (slice(first, first + width),)] = 0
        masked += width
    assert masked
    close(feats, expected)


def test_features_of_training_are_those_of_extraction(toy_data):
    """An utterance as long as the crop, in training and as extraction makes it."""
    utt_id, samples = samples_of(toy_data / "test", 4)
    config = experiment(sampling={"crop_s": len(samples) / RATE})
    corpus = TrainCorpus.load(toy_data / "test")
    feats, _ = corpus.waveform_dataset(config, Augmenter(config.augment, [], [], RATE))[CropKey(0, 0, 4)]
    extractor = Extractor(config.embedder, config.embedder.model.build(feat_dim=24))
    data = DataDir.load(toy_data / "test")
    inputs = UtteranceInputs(data, extractor, feats_type="raw", use_vad=False)
    assert data.utterances[4].utt_id == utt_id
    assert np.array_equal(feats.numpy(), inputs[data.utterances[4]])


def test_dither_is_drawn_from_the_key_and_stays_out_of_the_model(toy_data):
    config = experiment(frontend={"dither": 2.0})
    assert config.embedder.frontend.config.dither == 0
    dataset = dataset_of(toy_data / "train", frontend={"dither": 2.0})
    key = CropKey(1, 2, 6)
    first, again = dataset[key][0], dataset[key][0]
    assert torch.equal(first, again)
    _, samples = samples_of(toy_data / "train", 6)
    _, rng = generators(key)
    speech = cut(samples, rng)
    for _ in range(5):
        rng.random()
    expected = fbank(speech + 2.0 / 32768 * rng.standard_normal(CROP, dtype=np.float32))
    close(first, expected - expected.mean(0))
    assert not torch.equal(first, dataset_of(toy_data / "train")[key][0])


def test_extraction_has_no_dither_whatever_the_bundle_says(toy_data):
    config = experiment(frontend={"dither": 2.0})
    extractors = [
        Extractor(embedder, embedder.model.build(feat_dim=24))
        for embedder in (config.embedder, type(config.embedder)(config.frontend, config.cmvn, config.model))
    ]
    data = DataDir.load(toy_data / "test")
    feats = [
        UtteranceInputs(data, one, feats_type="raw", use_vad=False)[data.utterances[0]] for one in extractors
    ]
    assert np.array_equal(*feats)


def test_views_are_of_different_utterances_of_one_speaker(toy_data):
    changes = {"sampling": {"views": 3}, "loss": {"name": "ge2e"}}
    dataset = dataset_of(toy_data / "train", **changes)
    for draw in range(6):
        keys = [CropKey(0, draw, 13, view) for view in range(3)]
        crops = [dataset[key] for key in keys]
        assert {label for _, label in crops} == {3}
        heard = [dataset._utterance(key) for key in keys]
        assert heard[0] == 13
        assert set(heard) < {12, 13, 14, 15}
        assert len(set(heard)) == 3
        for (feats, _), key, utt in zip(crops, keys, heard, strict=True):
            _, samples = samples_of(toy_data / "train", utt)
            expected = fbank(cut(samples, generators(key)[1]))
            close(feats, expected - expected.mean(0))
    others = {dataset._utterance(CropKey(0, draw, 13, 1)) for draw in range(40)}
    assert others == {12, 14, 15}


def test_a_speaker_of_one_utterance_gives_it_again(toy_data):
    dataset = dataset_of(toy_data / "train", sampling={"views": 2})
    alone = type(dataset)(dataset.source, np.arange(32), 32, dataset.config)
    assert alone._utterance(CropKey(0, 0, 13, 1)) == 13


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ({"sampling": {"speeds": [1.0, 0.9]}}, {"feats_type": "fbank"}, ["sampling.speeds"]),
        (
            {"augment": {"noise": {"probability": 0.5}, "gain": {"probability": 0.1}}},
            {"feats_type": "fbank"},
            ["augment.noise.probability", "augment.gain.probability"],
        ),
        ({"frontend": {"dither": 1.0}}, {"feats_type": "fbank"}, ["frontend.dither"]),
        ({}, {"feats_type": "fbank", "has_rirs": True}, ["--rir-data"]),
        ({}, {"use_vad": True}, ["--use-vad"]),
        ({}, {"use_vad": True, "has_valid_data": True}, []),
        ({}, {"has_noises": True}, ["--noise-data"]),
        ({"augment": {"noise": {"probability": 0.5}}}, {"has_noises": True}, []),
        ({"augment": {"reverb": {"probability": 0.5}}}, {"has_rirs": True}, ["--rir-data"]),
        ({"augment": {"reverb": {"probability": 0.5, "simulated": 0.5}}}, {"has_rirs": True}, []),
        ({"augment": {"spec_augment": {"num_time_masks": 1}}}, {"feats_type": "fbank", "use_vad": True}, []),
    ],
)
def test_options_that_another_makes_useless_are_named(settings, options, expected):
    given = {"feats_type": "raw", "use_vad": False, "has_noises": False, "has_rirs": False}
    found = unused.options(experiment(**settings), **{**given, "has_valid_data": False, **options})
    assert [text.partition(":")[0] for text in found] == expected


@pytest.mark.parametrize("num_mels", [23, 40, 80, 100, 110, 128, 200])
@pytest.mark.parametrize(("rate", "low_hz"), [(16000, 20.0), (8000, 20.0), (16000, 300.0)])
def test_filters_that_hold_no_bin_are_refused(num_mels, rate, low_hz):
    """By the filters of torchaudio: is there one whose weights are all 0?"""
    size = 1 << (rate // 40 - 1).bit_length()
    banks, _ = kaldi.get_mel_banks(num_mels, size, rate, low_hz, 0.0, 100.0, -500.0, 1.0)
    settings = {"num_mels": num_mels, "sample_rate": rate, "low_hz": low_hz}
    if (banks.sum(1) > 0).all():
        assert config_io.from_mapping(FbankConfig, settings, "x").num_mels == num_mels
    else:
        with pytest.raises(ConfigError, match="num_mels: some of"):
            config_io.from_mapping(FbankConfig, settings, "x")


def test_128_filters_at_16_khz_are_refused():
    with pytest.raises(ConfigError, match="num_mels: some of 128 filters hold no bin"):
        experiment(frontend={"num_mels": 128})
