"""TfMel against its definition written as sums of cosines and sines in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import windows

from speakerlab import config
from speakerlab.errors import ConfigError
from speakerlab.frontend.tf_mel import TfMel, TfMelConfig


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) + 0.02


def by_hand(samples: np.ndarray, *, normalise: bool = True) -> np.ndarray:
    """Frames of 400 every 160 over 80 zeros on both sides; 256 of the bins of 512; 72 filters to 7600 Hz."""
    x = samples.astype(np.float64)
    if normalise:
        x = (x - x.mean()) / (x.std() + 1e-8)
    x = np.pad(x - 0.97 * np.concatenate([x[1:2], x[:-1]]), 80)
    frames = np.array([x[s : s + 400] for s in range(0, len(x) - 399, 160)]) * windows.hamming(400)
    angle = 2 * np.pi * np.outer(np.arange(400), np.arange(256)) / 512
    power = np.clip((frames @ np.cos(angle)) ** 2 + (frames @ np.sin(angle)) ** 2, 1e-8, 1e8)
    bins = 2595 * np.log10(1 + np.arange(256) * (8000 / 255) / 700)
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 7600 / 700), 74)
    feats = []
    for left, centre, right in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        weight = np.interp(bins, [left, centre, right], [0, 1, 0])
        feats.append(np.log(np.clip(power @ weight, 1e-8, 1e8) + 1e-8))
    return np.array(feats).T


@pytest.mark.parametrize("num_samples", [241, 400, 559, 560, 16001])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("level", [1.0, 1e-5])  # the quiet one feels the constant under the deviation
def test_agrees_with_its_definition(num_samples: int, normalise: bool, level: float) -> None:
    samples = level * noise(num_samples)
    ours = TfMel(TfMelConfig(normalise=normalise))(samples)
    expected = by_hand(samples.numpy(), normalise=normalise)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_limits_are_kept() -> None:
    silence = TfMel(TfMelConfig())(torch.zeros(4000))
    # 1e-8 in every bin: a filter narrower than a bin falls below the limit and is raised to it
    assert float(silence.min()) == pytest.approx(np.log(2e-8), abs=1e-3)
    loud = TfMel(TfMelConfig(normalise=False))(1e6 * noise(4000))
    assert float(loud.max()) == pytest.approx(np.log(1e8), abs=1e-3)


def test_batch_agrees_with_its_definition() -> None:
    lengths = [8000, 1234, 4001]
    samples = torch.full((3, 8100), float("nan"))
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = noise(length, seed=length)
    feats, num_frames = TfMel(TfMelConfig()).batch(samples, torch.tensor(lengths))
    for row, frames, wave, length in zip(feats, num_frames, samples, lengths, strict=True):
        expected = by_hand(wave[:length].numpy())
        assert len(expected) == frames
        np.testing.assert_allclose(row[:frames], expected, atol=2e-3)


def test_fewest_samples() -> None:
    front = TfMel(TfMelConfig())
    assert front.num_frames(240) == 1
    assert front.num_frames(239) == 0
    with pytest.raises(ValueError, match="S >= 240"):
        front(noise(239))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"num_mels": 3}, "num_mels"),
        ({"n_fft": 511}, "n_fft"),
        ({"frame_length_ms": 40.0}, "frame_length_ms"),
        ({"frame_shift_ms": 0.0}, "frame_shift_ms"),
        ({"preemphasis": 2.0}, "preemphasis"),
        ({"high_hz": 8001.0}, "low_hz, high_hz"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config.from_mapping(TfMelConfig, changes, "test.yaml")
