"""What every registered front end must do, whatever it computes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from speakerlab import config, registry
from speakerlab.frontend.vad import VadConfig, compute_vad
from speakerlab.registry import get, names

pytestmark = pytest.mark.parametrize("name", names("frontend"))


def frontend(name: str) -> object:
    return get("frontend", name)(get("frontend", name).Config())


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def test_config_is_frozen_and_survives_yaml(name: str) -> None:
    settings = get("frontend", name).Config()
    assert settings.__dataclass_params__.frozen
    assert config.from_mapping(type(settings), config.to_mapping(settings), name) == settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.sample_rate = 1


def test_features_have_the_promised_shape_and_type(name: str) -> None:
    front = frontend(name)
    for num_samples in (front.sample_rate // 10, front.sample_rate + 1):
        feats = front(noise(num_samples))
        assert feats.dtype == torch.float32
        assert feats.shape == (front.num_frames(num_samples), front.dim)
        assert feats.isfinite().all()


def test_is_a_function_of_the_samples(name: str) -> None:
    front = frontend(name)
    samples = noise(front.sample_rate)
    before = samples.clone()
    first = front(samples)
    assert torch.equal(samples, before)
    torch.manual_seed(1)
    assert torch.equal(first, front(samples))
    assert torch.equal(first, frontend(name)(samples))
    assert not torch.equal(first, front(noise(front.sample_rate, seed=1)))


def ragged(front: object, seconds: tuple[float, ...], padding: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Utterances of these durations in one tensor, the last with room behind it, filled with ``padding``."""
    lengths = torch.tensor([int(s * front.sample_rate) + n for n, s in enumerate(seconds)])
    samples = torch.full((len(seconds), int(lengths.max()) + 333), padding)
    for row, length in zip(samples, lengths.tolist(), strict=True):
        row[:length] = noise(length, seed=length)
    return samples, lengths


@pytest.mark.parametrize("padding", [0.0, 1e20, float("nan"), float("-inf")])
def test_batch_equals_each_alone_whatever_the_padding(name: str, padding: float) -> None:
    front = frontend(name)
    samples, lengths = ragged(front, (0.1, 0.731, 0.5, 0.04), padding)
    feats, num_frames = front.batch(samples, lengths)
    assert feats.dtype == torch.float32
    assert feats.shape == (4, front.num_frames(samples.shape[1]), front.dim)
    assert num_frames.tolist() == [front.num_frames(length) for length in lengths.tolist()]
    for row, wave, length, frames in zip(feats, samples, lengths, num_frames, strict=True):
        alone = front(wave[:length])
        torch.testing.assert_close(row[:frames], alone, atol=1e-5 * float(alone.abs().max()), rtol=1e-5)
        assert not row[frames:].any()


def test_batch_refuses_lengths_that_do_not_fit(name: str) -> None:
    front = frontend(name)
    for lengths in ([front.grid.min_samples - 1, 1600], [1600, 1601]):
        with pytest.raises(ValueError, match="samples"):
            front.batch(torch.zeros(2, 1600), torch.tensor(lengths))
    with pytest.raises(ValueError, match="samples"):
        front.batch(torch.zeros(1600), torch.tensor([1600]))


def test_voice_decisions_are_one_per_frame(name: str) -> None:
    front = frontend(name)
    for num_samples in (front.sample_rate // 10, front.sample_rate + 1):
        voiced = compute_vad(noise(num_samples), front.grid, VadConfig())
        assert len(voiced) == front.num_frames(num_samples)


def test_silence_gives_finite_features(name: str) -> None:
    front = frontend(name)
    assert front(torch.zeros(front.sample_rate)).isfinite().all()


def test_too_short_is_refused_and_counts_no_frame(name: str) -> None:
    front = frontend(name)
    too_few = front.grid.min_samples - 1
    assert front.num_frames(too_few) == 0
    with pytest.raises(ValueError, match="samples"):
        front(noise(too_few))


def test_builds_from_a_config_section(name: str) -> None:
    section = registry.get("frontend", name).Config()
    component = config.Component("frontend", name, section)
    assert component.build().dim == frontend(name).dim
