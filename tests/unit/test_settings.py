"""Settings are checked when they are read: every component's, by the name of the key."""

import dataclasses
import typing

import pytest

from speakerlab import config, registry
from speakerlab.augment.pipeline import AugmentConfig
from speakerlab.errors import ConfigError
from speakerlab.frontend.cmvn import CmvnConfig
from speakerlab.train import schedule
from speakerlab.train.experiment import ExperimentConfig, OptimizerConfig, SamplingConfig, TrainConfig

# Offsets from the Nyquist frequency, levels in dB and a cosine: the settings that may be below 0.
SIGNED = {"high_hz", "negative_ceiling", "min_db", "max_db", "min_snr_db", "max_snr_db"}
SIGNED |= {"min_direct_db", "max_direct_db"}


def classes():
    for kind in ("frontend", "model", "loss", "pooling"):
        for name in registry.names(kind):
            yield f"{kind}-{name}", registry.get(kind, name).Config
    for cls in (OptimizerConfig, SamplingConfig, TrainConfig, CmvnConfig):
        yield cls.__name__, cls
    for field in dataclasses.fields(AugmentConfig):
        yield field.name, field.default_factory


def numbers():
    for label, cls in classes():
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            item = next(iter(typing.get_args(hints[field.name])), hints[field.name])
            if item in (int, float):
                is_list = typing.get_origin(hints[field.name]) is tuple
                size = len(field.default) if is_list else 0
                yield pytest.param(cls, field.name, item, size, id=f"{label}-{field.name}")


def refusal(cls, name, value, size):
    with pytest.raises(ConfigError) as caught:
        config.from_mapping(cls, {name: [value] * size if size else value}, "x")
    return str(caught.value)


@pytest.mark.parametrize(("cls", "name", "item", "size"), list(numbers()))
def test_a_number_that_is_none_is_refused_by_the_name_of_its_key(cls, name, item, size):
    if item is float:
        for value in (float("nan"), float("inf")):
            assert refusal(cls, name, value, size).startswith(f"x: {name}")
    if name not in SIGNED:
        assert name in refusal(cls, name, item(-1), size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": {"margin_epochs": [2, 1]}}, "x: train.margin_epochs: must be [start, end]"),
        ({"optimizer": {"lr": 0.0}}, "x: optimizer.lr: must be positive"),
        ({"optimizer": {"lr": 0.1, "lr_final": 0.2}}, "x: optimizer.lr_final: must be 0 to lr"),
        ({"optimizer": {"momentum": 1.0}}, "x: optimizer.momentum: must be at least 0 and below 1"),
        ({"train": {"batch_size": 1}}, "x: train.batch_size: must be at least 2"),
        ({"loss": {"name": "ge2e"}}, "x: sampling.views: must be at least 2 with loss ge2e"),
        ({"seed": -1}, "x: seed: must not be negative"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before_anything_is_done(settings, message):
    with pytest.raises(ConfigError) as caught:
        config.from_mapping(ExperimentConfig, settings, "x")
    assert str(caught.value).startswith(message)


def test_a_margin_ramp_of_no_length_is_a_step():
    at = [schedule.margin(0.2, epoch, (2.0, 2.0)) for epoch in (0, 1.99, 2, 3)]
    assert at == [0.0, 0.0, 0.2, 0.2]
