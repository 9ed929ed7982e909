"""What every registered front end must do, whatever it computes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from speakerlab import config, registry
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


def test_silence_gives_finite_features(name: str) -> None:
    front = frontend(name)
    assert front(torch.zeros(front.sample_rate)).isfinite().all()


def test_too_short_is_refused_and_counts_no_frame(name: str) -> None:
    front = frontend(name)
    assert front.num_frames(2) == 0
    with pytest.raises(ValueError, match="samples"):
        front(noise(2))


def test_builds_from_a_config_section(name: str) -> None:
    section = registry.get("frontend", name).Config()
    component = config.Component("frontend", name, section)
    assert component.build().dim == frontend(name).dim
