"""Fbank against kaldi-native-fbank (independent), torchaudio's own call, and its pinned defaults."""

from __future__ import annotations

import dataclasses

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
import yaml

from speakerlab import config
from speakerlab.errors import ConfigError
from speakerlab.frontend.fbank import Fbank, FbankConfig
from speakerlab.torchaudio_import import kaldi

RATE = 16000
DEFAULTS = {
    "sample_rate": 16000,
    "num_mels": 80,
    "frame_length_ms": 25.0,
    "frame_shift_ms": 10.0,
    "window": "povey",
    "preemphasis": 0.97,
    "remove_dc": True,
    "low_hz": 20.0,
    "high_hz": 0.0,
    "dither": 0.0,
    "scale": 32768.0,
    "snip_edges": True,
    "use_power": True,
    "use_log": True,
    "log_floor": 2.0**-23,
}


def speech_like(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Harmonics of a gliding pitch under a syllabic envelope, with a little breath noise."""
    t = np.arange(num_samples) / RATE
    phase = 2 * np.pi * (120 * t + 20 * np.sin(2 * np.pi * 1.5 * t) / 3)
    voice = sum(np.sin(k * phase) / k**1.5 for k in range(1, 30))
    envelope = np.clip(np.sin(2 * np.pi * 3 * t), 0, 1) ** 2
    return 0.1 * envelope * voice + 1e-3 * rng.standard_normal(num_samples)


def signals() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * RATE)
    speech = speech_like(2 * RATE, rng)
    waves = {
        "noise": 0.1 * noise,
        "speech": speech,
        "dc": speech + 0.05,
        "quiet": np.round(speech / np.abs(speech).max() * 1e-3 * 32768) / 32768,  # -60 dB, 16-bit steps
        "one_lsb": np.sign(noise) / 32768,
        "one_frame": 0.1 * noise[:400],
        "almost_two_frames": 0.1 * noise[:559],
    }
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


def oracle(samples: np.ndarray, settings: FbankConfig) -> np.ndarray:
    options = knf.FbankOptions()
    frames, mels = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.dither = settings.sample_rate, 0.0
    frames.frame_length_ms, frames.frame_shift_ms = settings.frame_length_ms, settings.frame_shift_ms
    frames.window_type, frames.preemph_coeff = settings.window, settings.preemphasis
    frames.remove_dc_offset, frames.snip_edges = settings.remove_dc, settings.snip_edges
    mels.num_bins, mels.low_freq, mels.high_freq = settings.num_mels, settings.low_hz, settings.high_hz
    options.use_power, options.use_log_fbank = settings.use_power, settings.use_log
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(settings.sample_rate, (samples * settings.scale).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


@pytest.mark.parametrize("window", ["povey", "hamming"])
@pytest.mark.parametrize("name", signals())
def test_agrees_with_kaldi_native_fbank(name: str, window: str) -> None:
    settings = FbankConfig(window=window)  # type: ignore[arg-type]
    samples = signals()[name]
    ours = Fbank(settings)(torch.from_numpy(samples)).numpy()
    theirs = oracle(samples, settings)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-3  # measured: 1.6e-3 for dc, at most 3.4e-4 for the others


@pytest.mark.parametrize("window", ["povey", "hamming"])
def test_large_dc_offset_stays_near_double_precision(window: str) -> None:
    # The oracle itself, in float32, is 5e-3 off here; ours is 1.6e-3 off.
    samples = torch.from_numpy(signals()["speech"] + np.float32(0.3))
    exact = kaldi.fbank(samples.double()[None] * 32768, num_mel_bins=80, window_type=window)
    ours = Fbank(FbankConfig(window=window))(samples)  # type: ignore[arg-type]
    torch.testing.assert_close(ours.double(), exact, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_mels": 40, "sample_rate": 8000},
        {"frame_length_ms": 32.0, "frame_shift_ms": 12.5},
        {"low_hz": 60.0, "high_hz": -400.0},
        {"low_hz": 60.0, "high_hz": 7600.0},
        {"preemphasis": 0.0, "remove_dc": False},
        {"snip_edges": False},
        {"use_power": False},
        {"scale": 1.0},
    ],
    ids=str,
)
def test_every_setting_reaches_the_arithmetic(changes: dict[str, float]) -> None:
    settings = FbankConfig(**changes)  # type: ignore[arg-type]
    samples = signals()["speech"] + np.float32(0.01)
    ours = Fbank(settings)(torch.from_numpy(samples)).numpy()
    theirs = oracle(samples, settings)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-3
    default = Fbank(FbankConfig())(torch.from_numpy(samples)).numpy()
    assert default.shape != ours.shape or np.abs(default - ours).max() > 0.1


def test_linear_energies_are_the_exponential() -> None:
    samples = torch.from_numpy(signals()["noise"])
    linear = Fbank(FbankConfig(use_log=False))(samples)
    torch.testing.assert_close(linear.log(), Fbank(FbankConfig())(samples))


def test_equals_the_plain_torchaudio_call() -> None:
    samples = torch.from_numpy(signals()["speech"])
    assert torch.equal(Fbank(FbankConfig())(samples), kaldi.fbank(samples[None] * 32768, num_mel_bins=80))


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("shift_ms", [10.0, 12.5, 40.0])
def test_batch_equals_a_torchaudio_call_for_each(snip_edges: bool, shift_ms: float) -> None:
    fbank = Fbank(FbankConfig(snip_edges=snip_edges, frame_shift_ms=shift_ms))
    lengths = [32000, 400, 16123, 640]
    waves = [torch.from_numpy(signals()["noise"])[:n] for n in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=float("nan"))
    feats, num_frames = fbank.batch(padded, torch.tensor(lengths))
    for row, frames, wave in zip(feats, num_frames, waves, strict=True):
        settings = {"num_mel_bins": 80, "snip_edges": snip_edges, "frame_shift": shift_ms}
        theirs = kaldi.fbank(wave[None] * 32768, **settings)
        assert frames == len(theirs)
        torch.testing.assert_close(row[:frames], theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_pinned(name: str) -> None:
    assert getattr(FbankConfig(), name) == DEFAULTS[name]


def test_no_setting_without_pinned_default() -> None:
    assert {f.name for f in dataclasses.fields(FbankConfig)} == set(DEFAULTS)


def test_log_floor_is_what_digital_silence_gives() -> None:
    silence = torch.zeros(RATE)
    assert torch.all(Fbank(FbankConfig())(silence) == torch.tensor(2.0**-23).log())
    assert torch.all(Fbank(FbankConfig(log_floor=1.0))(silence) == 0)


def test_scale_shifts_log_energies_by_twice_its_logarithm() -> None:
    samples = torch.from_numpy(signals()["noise"])
    shift = Fbank(FbankConfig())(samples) - Fbank(FbankConfig(scale=1.0))(samples)
    torch.testing.assert_close(shift, torch.full_like(shift, 2 * np.log(32768.0)), atol=2e-3, rtol=0)


def test_no_dither_is_deterministic_and_dither_is_not() -> None:
    samples = torch.from_numpy(signals()["noise"])
    assert torch.equal(Fbank(FbankConfig())(samples), Fbank(FbankConfig())(samples))
    dithered = Fbank(FbankConfig(dither=1.0))
    assert not torch.equal(dithered(samples), dithered(samples))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_num_frames_is_the_number_of_frames(rate: int, snip_edges: bool) -> None:
    fbank = Fbank(FbankConfig(sample_rate=rate, num_mels=20, snip_edges=snip_edges))
    for num_samples in (int(rate * 0.025), int(rate * 0.035) - 1, int(rate * 0.035), rate + 7):
        assert fbank.num_frames(num_samples) == len(fbank(torch.ones(num_samples)))
    assert fbank.num_frames(int(rate * 0.025) - 1) == 0


@pytest.mark.parametrize("samples", [torch.zeros(399), torch.zeros(0), torch.zeros(1, 16000)])
def test_too_short_or_misshapen_samples_are_refused(samples: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"need \[S\] with S >= 400"):
        Fbank(FbankConfig())(samples)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"num_mels": 3}, "num_mels"),
        ({"low_hz": 9000.0}, "low_hz"),
        ({"high_hz": 8001.0}, "high_hz"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"frame_shift_ms": 0.0}, "frame_shift_ms"),
        ({"frame_length_ms": 0.0}, "frame_length_ms"),
        ({"preemphasis": 1.5}, "preemphasis"),
        ({"dither": -1.0}, "dither"),
        ({"scale": 0.0}, "scale"),
        ({"log_floor": 0.0}, "log_floor"),
        ({"window": "hann"}, "window"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config.from_mapping(FbankConfig, changes, "test.yaml")


def test_settings_survive_yaml() -> None:
    settings = FbankConfig(scale=1.0, window="hamming")
    assert config.from_mapping(FbankConfig, yaml.safe_load(config.dump(settings)), "bundle") == settings
