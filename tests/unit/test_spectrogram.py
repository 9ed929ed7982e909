"""Spectrogram against numpy's transform of frames cut by hand, torchaudio.transforms, GhostVLAD's rule."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from scipy.signal import get_window

import speakerlab.torchaudio_import  # noqa: F401  # before torchaudio.transforms
from speakerlab import config
from speakerlab.errors import ConfigError
from speakerlab.frontend.spectrogram import Spectrogram, SpectrogramConfig

transforms = importlib.import_module("torchaudio.transforms")
GHOSTVLAD = SpectrogramConfig(
    edges="zeros", use_power=False, use_log=False, standardise_bins=True, append_reversed=True
)


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def magnitudes(samples: np.ndarray, settings: SpectrogramConfig) -> np.ndarray:
    """|FFT| of frames cut one by one, in double precision."""
    size, shift = settings.n_fft, int(settings.frame_shift_ms * settings.sample_rate / 1000)
    length = int(settings.frame_length_ms * settings.sample_rate / 1000)
    window = np.zeros(size)
    before = (size - length) // 2
    window[before : before + length] = get_window(settings.window, length)
    modes = {"zeros": "constant", "reflect": "reflect"}
    signal = samples.astype(np.float64)
    if settings.edges != "none":
        signal = np.pad(signal, size // 2, mode=modes[settings.edges])
    starts = range(0, len(signal) - size + 1, shift)
    return np.abs(np.fft.rfft([signal[s : s + size] * window for s in starts]))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_power": False},
        {"edges": "zeros"},
        {"edges": "none"},
        {"window": "hamming"},
        {"n_fft": 400, "frame_shift_ms": 12.5},
        {"n_fft": 1024, "frame_length_ms": 32.0, "frame_shift_ms": 15.0},
        {"sample_rate": 8000, "n_fft": 256},
    ],
    ids=str,
)
def test_linear_agrees_with_numpy(changes: dict[str, object]) -> None:
    settings = SpectrogramConfig(use_log=False, **changes)  # type: ignore[arg-type]
    for num_samples in (settings.n_fft, 1999, 8000):
        samples = noise(num_samples)
        expected = magnitudes(samples.numpy(), settings) ** (2 if settings.use_power else 1)
        ours = Spectrogram(settings)(samples)
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize(("n_fft", "shift_ms", "hop"), [(400, 12.5, 200), (512, 10.0, 160)])
def test_linear_agrees_with_torchaudio(n_fft: int, shift_ms: float, hop: int) -> None:
    samples = noise(16001)
    theirs = transforms.Spectrogram(n_fft=n_fft, win_length=400, hop_length=hop)(samples).T
    ours = Spectrogram(SpectrogramConfig(n_fft=n_fft, frame_shift_ms=shift_ms, use_log=False))(samples)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_logarithm_of_floor_and_offset() -> None:
    samples = noise(8000)
    linear = Spectrogram(SpectrogramConfig(use_log=False))(samples).double()
    for floor, offset in ((0.0, 1e-6), (1e-2, 0.0), (1e-2, 1e-3)):
        ours = Spectrogram(SpectrogramConfig(log_floor=floor, log_offset=offset))(samples)
        expected = (linear.clamp(min=floor) + offset).log()
        torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)
        assert (linear < 1e-2).any()
    silence = Spectrogram(SpectrogramConfig())(torch.zeros(8000))
    torch.testing.assert_close(silence, torch.full_like(silence, math.log(1e-6)))


def test_a_tone_lies_in_its_bin() -> None:
    time_s = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 1000 * time_s)
    frame = Spectrogram(SpectrogramConfig(use_log=False, use_power=False))(tone)[50]
    assert int(frame.argmax()) == 32  # 1000 Hz / 31.25 Hz
    assert float(frame.max()) == pytest.approx(100, rel=1e-3)  # half the sum of a Hann window of 400


def ghostvlad(samples: np.ndarray) -> np.ndarray:
    """The published inference front end: both directions, magnitudes, each frame standardised."""
    both = np.concatenate([samples, samples[::-1]])
    spectra = magnitudes(both, SpectrogramConfig(edges="zeros"))
    mean, deviation = spectra.mean(1, keepdims=True), spectra.std(1, keepdims=True)
    return (spectra - mean) / (deviation + 1e-5)


@pytest.mark.parametrize("num_samples", [400, 4000, 16001])
def test_ghostvlad_agrees_with_its_rule(num_samples: int) -> None:
    samples = noise(num_samples)
    ours = Spectrogram(GHOSTVLAD)(samples)
    assert ours.shape == (1 + 2 * num_samples // 160, 257)
    np.testing.assert_allclose(ours, ghostvlad(samples.numpy()), atol=1e-4)


@pytest.mark.parametrize("edges", ["zeros", "reflect", "none"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_batch_ends_each_utterance_at_its_own_end(edges: str, mirrored: bool) -> None:
    settings = SpectrogramConfig(edges=edges, append_reversed=mirrored, use_log=False)  # type: ignore[arg-type]
    lengths = [3200, 600, 2111, 513]
    samples = torch.full((4, 3500), float("nan"))
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = noise(length, seed=length)
    feats, num_frames = Spectrogram(settings).batch(samples, torch.tensor(lengths))
    for row, frames, wave, length in zip(feats, num_frames, samples, lengths, strict=True):
        alone = wave[:length].numpy()
        alone = np.concatenate([alone, alone[::-1]]) if mirrored else alone
        expected = magnitudes(alone, settings) ** 2
        assert len(expected) == frames
        np.testing.assert_allclose(row[:frames], expected, atol=1e-5 * expected.max())
        assert not row[frames:].any()


def test_ghostvlad_batch_agrees_with_its_rule() -> None:
    lengths = [8000, 1234]
    samples = torch.full((2, 8000), 7.0)
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = noise(length, seed=length)
    feats, num_frames = Spectrogram(GHOSTVLAD).batch(samples, torch.tensor(lengths))
    for row, frames, wave, length in zip(feats, num_frames, samples, lengths, strict=True):
        np.testing.assert_allclose(row[:frames], ghostvlad(wave[:length].numpy()), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "least"),
    [({}, 257), ({"edges": "zeros"}, 257), ({"edges": "none"}, 512), ({"append_reversed": True}, 129)],
)
def test_fewest_samples(changes: dict[str, object], least: int) -> None:
    front = Spectrogram(SpectrogramConfig(**changes))  # type: ignore[arg-type]
    assert front.num_frames(least) == len(front(noise(least))) > 0
    assert front.num_frames(least - 1) == 0
    with pytest.raises(ValueError, match=f"S >= {least}"):
        front(noise(least - 1))


def test_defaults_are_pinned() -> None:
    assert config.to_mapping(SpectrogramConfig()) == {
        "sample_rate": 16000,
        "n_fft": 512,
        "frame_length_ms": 25.0,
        "frame_shift_ms": 10.0,
        "window": "hann",
        "edges": "reflect",
        "normalise": False,
        "preemphasis": 0.0,
        "use_power": True,
        "use_log": True,
        "log_floor": 0.0,
        "log_offset": 1e-6,
        "standardise_bins": False,
        "append_reversed": False,
    }


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"n_fft": 511}, "n_fft"),
        ({"n_fft": 256}, "frame_length_ms"),
        ({"frame_length_ms": 0.5}, "frame_length_ms"),
        ({"frame_shift_ms": 0.0}, "frame_shift_ms"),
        ({"preemphasis": -0.1}, "preemphasis"),
        ({"log_offset": 0.0}, "log_floor, log_offset"),
        ({"log_floor": -1.0}, "log_floor, log_offset"),
        ({"window": "povey"}, "window"),
        ({"edges": "symmetric"}, "edges"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config.from_mapping(SpectrogramConfig, changes, "test.yaml")
