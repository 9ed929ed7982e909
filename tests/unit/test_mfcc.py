"""Mfcc against kaldi-native-fbank (independent), a cosine transform by hand, and its pinned defaults."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from speakerlab import config
from speakerlab.errors import ConfigError
from speakerlab.frontend.fbank import Fbank, FbankConfig
from speakerlab.frontend.mfcc import Mfcc, MfccConfig

RATE = 16000


def speech_like(num_samples: int) -> np.ndarray:
    """A decaying harmonic series with pauses, and noise."""
    t = np.arange(num_samples) / RATE
    phase = 2 * np.pi * (130 * t + 4 * np.sin(2 * np.pi * 2 * t))
    voice = sum(np.sin(k * phase) / k**1.5 for k in range(1, 30))
    noise = np.random.default_rng(0).standard_normal(num_samples)
    wave = 0.1 * np.clip(np.sin(2 * np.pi * 3 * t), 0, 1) ** 2 * voice + 1e-3 * noise
    return wave.astype(np.float32)


def oracle(samples: np.ndarray, settings: MfccConfig) -> np.ndarray:
    options = knf.MfccOptions()
    frames, mels = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.dither = settings.sample_rate, 0.0
    frames.frame_length_ms, frames.frame_shift_ms = settings.frame_length_ms, settings.frame_shift_ms
    frames.window_type, frames.preemph_coeff = settings.window, settings.preemphasis
    frames.remove_dc_offset, frames.snip_edges = settings.remove_dc, settings.snip_edges
    mels.num_bins, mels.low_freq, mels.high_freq = settings.num_mels, settings.low_hz, settings.high_hz
    options.num_ceps, options.cepstral_lifter = settings.num_ceps, settings.cepstral_lifter
    options.use_energy, options.raw_energy, options.energy_floor = settings.use_energy, True, 0.0
    computer = knf.OnlineMfcc(options)
    computer.accept_waveform(settings.sample_rate, (samples * settings.scale).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_energy": False},
        {"num_ceps": 13, "num_mels": 23, "high_hz": 0.0, "snip_edges": True},
        {"cepstral_lifter": 0.0},
        {"cepstral_lifter": 10.0},
        {"num_mels": 40},
        {"window": "hamming", "preemphasis": 0.5, "remove_dc": False},
        {"sample_rate": 8000, "high_hz": 3700.0, "frame_shift_ms": 12.5},
        {"scale": 1.0},
    ],
    ids=str,
)
def test_agrees_with_kaldi_native_fbank(changes: dict[str, object]) -> None:
    settings = MfccConfig(**changes)  # type: ignore[arg-type]
    samples = speech_like(RATE) + np.float32(0.01)
    ours = Mfcc(settings)(torch.from_numpy(samples)).numpy()
    theirs = oracle(samples, settings)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 3e-3  # of values up to 200; measured: 5e-4 with the defaults
    default = Mfcc(MfccConfig())(torch.from_numpy(samples)).numpy()
    assert not changes or default.shape != ours.shape or np.abs(default - ours).max() > 0.1


def test_is_the_liftered_cosine_transform_of_the_log_mel_energies() -> None:
    shared = {"num_mels": 23, "high_hz": 0.0, "snip_edges": True}
    samples = torch.from_numpy(speech_like(RATE))
    log_mels = Fbank(FbankConfig(**shared))(samples).double().numpy()
    order, band = np.meshgrid(np.arange(13), np.arange(23), indexing="ij")
    transform = np.sqrt(2 / 23) * np.cos(np.pi / 23 * (band + 0.5) * order)
    transform[0] = np.sqrt(1 / 23)
    lifter = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    ours = Mfcc(MfccConfig(num_ceps=13, use_energy=False, **shared))(samples)
    np.testing.assert_allclose(ours, log_mels @ transform.T * lifter, atol=1e-3)


def test_defaults_are_those_of_kaldi_s_x_vector_recipe() -> None:
    assert MfccConfig() == MfccConfig(
        sample_rate=16000,
        num_mels=30,
        frame_length_ms=25.0,
        frame_shift_ms=10.0,
        window="povey",
        preemphasis=0.97,
        remove_dc=True,
        low_hz=20.0,
        high_hz=7600.0,
        dither=0.0,
        scale=32768.0,
        snip_edges=False,
        num_ceps=30,
        cepstral_lifter=22.0,
        use_energy=True,
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"num_ceps": 31}, "num_ceps"),
        ({"num_ceps": 0}, "num_ceps"),
        ({"cepstral_lifter": -1.0}, "cepstral_lifter"),
        ({"num_mels": 3}, "num_mels"),
        ({"use_log": True}, "use_log"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config.from_mapping(MfccConfig, changes, "test.yaml")
