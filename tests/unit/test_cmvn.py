"""Mean and variance normalisation against numpy, alone and masked in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speakerlab.frontend.cmvn import CmvnConfig, apply_cmvn

CONFIGS = [
    CmvnConfig(),
    CmvnConfig(std=True),
    CmvnConfig(mean=False),
    CmvnConfig(window=7),
    CmvnConfig(window=300, std=True),
    CmvnConfig(window=10, min_window=4, center=False, std=True),
]


def feats(num_frames: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(num_frames, 5, generator=torch.Generator().manual_seed(seed)) + 10


def test_mean_is_taken_out() -> None:
    x = feats(50, 0)
    np.testing.assert_allclose(apply_cmvn(x, CmvnConfig()), x.numpy() - x.numpy().mean(0), atol=1e-5)


def test_mean_and_deviation_are_taken_out() -> None:
    x = feats(50, 0)
    expected = (x.numpy() - x.numpy().mean(0)) / x.numpy().std(0)
    np.testing.assert_allclose(apply_cmvn(x, CmvnConfig(std=True)), expected, atol=1e-5)


def test_off_changes_nothing() -> None:
    x = feats(50, 0)
    assert torch.equal(apply_cmvn(x, CmvnConfig(mean=False)), x)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("padding", [0.0, 1e4, np.nan])
def test_batch_equals_each_alone_whatever_the_padding(config: CmvnConfig, padding: float) -> None:
    alone = [feats(n, n) for n in (50, 1, 17)]
    batch = torch.full((3, 50, 5), padding)
    for row, x in zip(batch, alone, strict=True):
        row[: len(x)] = x
    done = apply_cmvn(batch, config, torch.tensor([50, 1, 17]))
    for row, x in zip(done, alone, strict=True):
        torch.testing.assert_close(row[: len(x)], apply_cmvn(x, config), atol=1e-4, rtol=0)
        assert not row[len(x) :].any()


def test_batch_without_lengths_uses_every_frame() -> None:
    batch = torch.stack([feats(20, 1), feats(20, 2)])
    torch.testing.assert_close(apply_cmvn(batch, CmvnConfig())[1], apply_cmvn(feats(20, 2), CmvnConfig()))


@pytest.mark.parametrize("num_frames", [1, 9])
def test_constant_features_become_zero(num_frames: int) -> None:
    for window in (0, 5):
        done = apply_cmvn(torch.full((num_frames, 4), -15.9424), CmvnConfig(std=True, window=window))
        assert done.abs().max() < 5e-3


def kaldi_sliding(x: np.ndarray, config: CmvnConfig) -> np.ndarray:
    """Kaldi's rule, frame by frame, in double precision."""
    num_frames, out = len(x), np.zeros(x.shape)
    for t in range(num_frames):
        start, end = t - config.window, t + 1
        if config.center:
            start = t - config.window // 2
            end = start + config.window
        if start < 0:
            end -= start
            start = 0
        if not config.center and end > t:
            end = max(t + 1, config.min_window)
        if end > num_frames:
            start = max(0, start - (end - num_frames))
            end = num_frames
        seen = x[start:end].astype(np.float64)
        out[t] = x[t] - seen.mean(0)
        if config.std:
            out[t] *= 0 if len(seen) == 1 else np.maximum(seen.var(0), 1e-10) ** -0.5
    return out


@pytest.mark.parametrize("num_frames", [1, 2, 9, 40, 320])
@pytest.mark.parametrize("window", [1, 2, 9, 10, 300, 1000])
@pytest.mark.parametrize(("center", "min_window"), [(True, 100), (False, 100), (False, 1), (False, 5)])
@pytest.mark.parametrize("std", [False, True])
def test_sliding_agrees_with_kaldi_s_rule(
    num_frames: int, window: int, center: bool, min_window: int, std: bool
) -> None:
    config = CmvnConfig(std=std, window=window, center=center, min_window=min_window)
    x = feats(num_frames, num_frames)
    done = apply_cmvn(x, config)
    assert done.dtype == torch.float32
    np.testing.assert_allclose(done, kaldi_sliding(x.numpy(), config), atol=2e-6)


def test_sliding_window_known_case() -> None:
    # Windows of 3 around each frame, moved inward at the ends: means 2, 2, 4, 8, 8.
    x = torch.tensor([1.0, 2, 3, 7, 14])[:, None]
    assert apply_cmvn(x, CmvnConfig(window=3)).flatten().tolist() == [-1, 0, -1, -1, 6]
    # The frame and the 3 before it, at least 2 frames: means 1.5, 1.5, 2, 3.25, 6.5.
    behind = apply_cmvn(x, CmvnConfig(window=3, min_window=2, center=False))
    assert behind.flatten().tolist() == [-0.5, 0.5, 1, 3.75, 7.5]


def test_window_over_everything_is_the_utterance() -> None:
    x = feats(50, 0)
    torch.testing.assert_close(apply_cmvn(x, CmvnConfig(window=100)), apply_cmvn(x, CmvnConfig()))


def test_sliding_mean_stays_exact_far_into_a_recording() -> None:
    x = feats(20000, 0) + 1000
    done = apply_cmvn(x, CmvnConfig(window=30))
    expected = x[-30:].double() - x[-30:].double().mean(0)
    torch.testing.assert_close(done[-1], expected[-1].float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("changes", [{"window": -1}, {"min_window": 0}])
def test_wrong_windows_are_named(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        CmvnConfig(**changes)


def test_deviation_without_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="std: needs mean"):
        CmvnConfig(mean=False, std=True)
