"""Every registered pooling: out_dim true, padding ignored, one frame finite; the formulas of each."""

import numpy as np
import pytest
import torch

from speakerlab import registry

NAMES = registry.names("pooling")
# Parameters of the default configuration on 64 channels.
NUM_PARAMETERS = {
    "asp": 33_216,
    "astp": 16_576,
    "ghostvlad": 64 * 10 + 10 + 8 * 64,
    "mhastp": 4_354,
    "mqmhastp": 17_536,
    "sap": 16_576,
    "tap": 0,
    "tsp": 0,
    "tstp": 0,
}
CHANNELS = 8
# A constant added to all frames of a score, which the softmax cancels; the checkpoints have it.
CANCELLED = ("att_1.bias", "linear2.bias")
FLOOR = 3.3e-4  # largest deviation of a constant channel: the root of WeSpeaker's 1e-7
OF_MOMENTS = [name for name in NAMES if name != "ghostvlad"]  # that one sums differences from centres


def build(name: str, in_dim: int = CHANNELS) -> torch.nn.Module:
    torch.manual_seed(0)
    cls = registry.get("pooling", name)
    return cls(cls.Config(), in_dim=in_dim).eval()


def frames(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 + 1


@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters_is_pinned(name):
    count = sum(p.numel() for p in build(name, 64).parameters())
    assert name in NUM_PARAMETERS, f"add '{name}': {count:_} to NUM_PARAMETERS in {__file__}"
    assert count == NUM_PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_out_dim_is_true(name):
    pooling = build(name)
    for num_frames in (1, 2, 50):
        pooled = pooling(frames(3, CHANNELS, num_frames))
        assert pooled.shape == (3, pooling.out_dim)
        assert pooled.isfinite().all()


@pytest.mark.parametrize("garbage", [1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("name", NAMES)
def test_padding_is_ignored(name, garbage):
    pooling = build(name)
    lengths = (1, 2, 31, 40)
    batch = torch.full((len(lengths), CHANNELS, 40), garbage)
    singles = []
    for row, length in enumerate(lengths):
        batch[row, :, :length] = frames(CHANNELS, length, seed=row)
        singles.append(pooling(batch[row : row + 1, :, :length])[0])
    pooled = pooling(batch, torch.tensor(lengths))
    torch.testing.assert_close(pooled, torch.stack(singles), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", OF_MOMENTS)
def test_one_frame_is_its_own_mean_without_deviation(name):
    pooling = build(name)
    x = frames(2, CHANNELS, 1).requires_grad_()
    pooled = pooling(x)
    pooled.sum().backward()
    for row, values in zip(pooled.detach(), x.detach()[..., 0], strict=True):
        is_mean = torch.isclose(row[:, None], values).any(1)
        assert is_mean.sum() * 2 >= len(row)
        assert ((row[~is_mean] >= 0) & (row[~is_mean] <= FLOOR)).all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name):
    pooling = build(name)
    x = torch.cat([frames(2, CHANNELS, 20), torch.ones(1, CHANNELS, 20)]).requires_grad_()
    pooled = pooling(x, torch.tensor([20, 9, 20]))
    (pooled * frames(*pooled.shape, seed=3)).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[1, :, 9:] == 0).all()
    for key, parameter in pooling.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0 or key.endswith(CANCELLED), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_input_is_pooled_in_float32(name, dtype):
    pooling = build(name)
    x = (frames(2, CHANNELS, 500) + 50).to(dtype)
    pooled = pooling.to(dtype)(x)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), pooling.float()(x.float()), rtol=0.05, atol=0.05)


def test_tap_is_the_mean():
    x = frames(2, CHANNELS, 30)
    np.testing.assert_allclose(build("tap")(x), x.numpy().astype(np.float64).mean(-1), rtol=1e-5)


def test_tstp_is_mean_and_unbiased_deviation():
    x = frames(2, CHANNELS, 30)
    exact = x.numpy().astype(np.float64)
    expected = np.concatenate([exact.mean(-1), np.sqrt(exact.var(-1, ddof=1) + 1e-8)], axis=1)
    np.testing.assert_allclose(build("tstp")(x), expected, rtol=1e-5)


def test_asp_width_is_checked():
    with pytest.raises(ValueError, match="bottleneck: must be at least 1"):
        registry.get("pooling", "asp").Config(bottleneck=0)
