"""MelSpectrogram against torchaudio.transforms and against filters and transforms written out in numpy."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch

import speakerlab.torchaudio_import  # noqa: F401  # before torchaudio.transforms
from speakerlab import config
from speakerlab.errors import ConfigError
from speakerlab.frontend.mel_spectrogram import MelSpectrogram, MelSpectrogramConfig

transforms = importlib.import_module("torchaudio.transforms")
SDPN = {"use_log": False}
MVECTOR = {"n_fft": 400, "frame_shift_ms": 12.5, "num_mels": 128, "use_log": False}
REDIMNET = {"window": "hamming", "preemphasis": 0.97, "low_hz": 20.0, "high_hz": 7600.0, "num_mels": 72}


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")  # 128 filters on 201 bins: mvector's own
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SDPN, {"n_fft": 512, "win_length": 400, "hop_length": 160, "f_min": 0, "f_max": 8000, "n_mels": 80}),
        (MVECTOR, {"n_fft": 400, "hop_length": 200, "n_mels": 128}),
        (
            {"use_log": False, "mel_scale": "slaney", "mel_norm": "slaney", "high_hz": -500.0,
             "num_mels": 40},
            {"n_fft": 512, "win_length": 400, "hop_length": 160, "f_max": 7500, "n_mels": 40,
             "mel_scale": "slaney", "norm": "slaney"},
        ),
        (
            {"use_log": False, "use_power": False, "sample_rate": 8000, "n_fft": 256, "low_hz": 64.0},
            {"n_fft": 256, "win_length": 200, "hop_length": 80, "sample_rate": 8000, "power": 1.0,
             "f_min": 64, "n_mels": 80},
        ),
    ],
    ids=["sdpn", "mvector", "slaney", "magnitude"],
)  # fmt: skip
def test_linear_agrees_with_torchaudio(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    samples = noise(16001)
    feats = MelSpectrogram(MelSpectrogramConfig(**ours))(samples)
    expected = transforms.MelSpectrogram(**theirs)(samples).T
    torch.testing.assert_close(feats, expected, atol=1e-5 * float(expected.max()), rtol=1e-5)


def hz_to_mel(hz: np.ndarray, scale: str) -> np.ndarray:
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))


def mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def by_hand(samples: np.ndarray, c: MelSpectrogramConfig) -> np.ndarray:
    """The linear mel spectrogram of torchaudio's definition, in double precision, filter by filter."""
    half, shift = c.n_fft // 2, int(c.frame_shift_ms * c.sample_rate / 1000)
    padded = np.pad(samples.astype(np.float64), half, mode="reflect")
    length = int(c.frame_length_ms * c.sample_rate / 1000)
    cosine = np.cos(2 * np.pi * np.arange(length) / length)
    window = 0.5 - 0.5 * cosine if c.window == "hann" else 0.54 - 0.46 * cosine
    window = np.pad(window, (c.n_fft - length) // 2)
    starts = range(0, len(padded) - c.n_fft + 1, shift)
    power = np.abs(np.fft.rfft([padded[s : s + c.n_fft] * window for s in starts])) ** 2
    low, high = hz_to_mel(np.array([c.low_hz, c.top_hz]), c.mel_scale)
    edges = mel_to_hz(np.linspace(low, high, c.num_mels + 2), c.mel_scale)
    bins = np.arange(half + 1) * c.sample_rate / c.n_fft
    feats = []
    for left, centre, right in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        weight = np.interp(bins, [left, centre, right], [0, 1, 0])
        feats.append(power @ weight * (2 / (right - left) if c.mel_norm == "slaney" else 1))
    return np.array(feats).T


@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize("mel_norm", ["none", "slaney"])
def test_linear_agrees_with_filters_by_hand(mel_scale: str, mel_norm: str) -> None:
    settings = MelSpectrogramConfig(  # type: ignore[arg-type]
        mel_scale=mel_scale, mel_norm=mel_norm, low_hz=60.0, num_mels=40, window="hamming", use_log=False
    )
    samples = noise(8000)
    expected = by_hand(samples.numpy(), settings)
    ours = MelSpectrogram(settings)(samples)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize(("shift_ms", "hop"), [(10.0, 160), (15.0, 240)])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("level", [1.0, 1e-4])  # the quiet one feels the constant under the deviation
def test_redimnet_agrees_with_its_chain(shift_ms: float, hop: int, normalised: bool, level: float) -> None:
    samples = level * (noise(16001) + 0.02)
    x = samples.double().numpy()
    if normalised:
        x = (x - x.mean()) / (x.std() + 1e-6)
    emphasised = x - 0.97 * np.concatenate([x[1:2], x[:-1]])  # reflected by one sample at the start
    mel = transforms.MelSpectrogram(
        16000, n_fft=512, win_length=400, hop_length=hop, f_min=20, f_max=7600, n_mels=72,
        window_fn=torch.hamming_window,
    )(torch.from_numpy(emphasised).float())  # fmt: skip
    settings = MelSpectrogramConfig(normalise=normalised, frame_shift_ms=shift_ms, **REDIMNET)
    ours = MelSpectrogram(settings)(samples)
    torch.testing.assert_close(ours, (mel + 1e-6).log().T, atol=2e-3, rtol=0)


def test_normalising_makes_level_and_offset_irrelevant() -> None:
    front = MelSpectrogram(MelSpectrogramConfig(normalise=True))
    samples = noise(8000)
    torch.testing.assert_close(front(samples), front(3 * samples - 0.2), atol=1e-2, rtol=0)


@pytest.mark.parametrize("edges", ["reflect", "zeros", "none"])
@pytest.mark.parametrize("normalised", [False, True])
def test_batch_equals_each_alone(edges: str, normalised: bool) -> None:
    settings = MelSpectrogramConfig(edges=edges, normalise=normalised, **REDIMNET)  # type: ignore[arg-type]
    front = MelSpectrogram(settings)
    lengths = [3200, 600, 2111, 513]
    samples = torch.full((4, 3500), float("nan"))
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = noise(length, seed=length)
    feats, num_frames = front.batch(samples, torch.tensor(lengths))
    for row, frames, wave, length in zip(feats, num_frames, samples, lengths, strict=True):
        torch.testing.assert_close(row[:frames], front(wave[:length]), atol=1e-4, rtol=0)
        assert not row[frames:].any()


def test_silence_is_the_logarithm_of_the_offset() -> None:
    silence = MelSpectrogram(MelSpectrogramConfig())(torch.zeros(8000))
    torch.testing.assert_close(silence, torch.full_like(silence, math.log(1e-6)))


def test_defaults_are_pinned() -> None:
    mapping = config.to_mapping(MelSpectrogramConfig())
    own = ("num_mels", "low_hz", "high_hz", "mel_scale", "mel_norm")
    assert [mapping[key] for key in own] == [80, 0.0, 0.0, "htk", "none"]
    assert mapping["use_power"] is True
    assert (mapping["n_fft"], mapping["frame_length_ms"], mapping["frame_shift_ms"]) == (512, 25.0, 10.0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"num_mels": 3}, "num_mels"),
        ({"low_hz": 8000.0}, "low_hz, high_hz"),
        ({"high_hz": 8001.0}, "low_hz, high_hz"),
        ({"mel_scale": "bark"}, "mel_scale"),
        ({"mel_norm": "htk"}, "mel_norm"),
        ({"n_fft": 511}, "n_fft"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config.from_mapping(MelSpectrogramConfig, changes, "test.yaml")
