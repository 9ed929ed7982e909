"""Mean and variance normalisation against numpy, alone and masked in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speakerlab.frontend.cmvn import CmvnConfig, apply_cmvn

CONFIGS = [CmvnConfig(), CmvnConfig(std=True), CmvnConfig(mean=False)]


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
    done = apply_cmvn(torch.full((num_frames, 4), -15.9424), CmvnConfig(std=True))
    assert done.abs().max() < 5e-3


def test_deviation_without_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="std: needs mean"):
        CmvnConfig(mean=False, std=True)
