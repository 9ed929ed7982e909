"""The settings of a training run: ``conf/config.yaml`` on ``conf/base.yaml`` become one frozen object.

``experiment = config.load(ExperimentConfig, Path("conf/config.yaml"))``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speakerlab.augment.pipeline import AugmentConfig
from speakerlab.config import Component, component
from speakerlab.frontend.cmvn import CmvnConfig
from speakerlab.hub.bundle import EmbedderConfig


@dataclass(frozen=True)
class SamplingConfig:
    """How an epoch is drawn from the data.

    Attributes:
        crop_s: length of a training crop; a shorter utterance is repeated to this length.
        speeds: speed factors; every one besides 1.0 adds a copy of each speaker as a new class.
        crops_per_epoch: 0 means one pass: every utterance gives duration / crop_s crops.
        views: crops cut at once from each drawn utterance; losses that compare crops need 2 or more.
    """

    crop_s: float = 3.0
    speeds: tuple[float, ...] = (1.0, 0.9, 1.1)
    crops_per_epoch: int = 0
    views: int = 1

    def __post_init__(self) -> None:
        if not self.speeds or self.speeds[0] != 1.0 or len(set(self.speeds)) != len(self.speeds):
            raise ValueError("speeds: must start with 1.0 and hold no factor twice")
        if not all(
            0.5 <= speed <= 2.0 and abs(100 * speed - round(100 * speed)) < 1e-6 for speed in self.speeds
        ):
            raise ValueError("speeds: factors are multiples of 0.01 in 0.5..2.0")
        if self.crop_s <= 0 or self.views < 1:
            raise ValueError("crop_s, views: must be positive")


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD with Nesterov momentum, or AdamW; one cosine cycle of the learning rate after a warm-up."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    lr_final: float = 1e-4
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    grad_clip: float = 5.0


@dataclass(frozen=True)
class TrainConfig:
    """Length and pace of training; epochs may be fractional where a schedule is meant.

    Attributes:
        margin_epochs: the loss margin grows from 0 to its setting between these two epochs.
        average: how many last checkpoints stage 5 averages; as many are kept.
        precision: bf16 is autocast; weights and loss stay fp32.
    """

    epochs: int = 20
    batch_size: int = 64
    margin_epochs: tuple[float, ...] = (4.0, 10.0)
    average: int = 3
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not 1 <= self.average <= self.epochs:
            raise ValueError("epochs >= 1, batch_size >= 2 and 1 <= average <= epochs must hold")
        if len(self.margin_epochs) != 2 or self.margin_epochs[0] > self.margin_epochs[1]:
            raise ValueError("margin_epochs: must be [start, end]")


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a training run, data aside."""

    frontend: Component = component("frontend", "fbank")
    cmvn: CmvnConfig = field(default_factory=CmvnConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    model: Component = component("model", "campplus")
    loss: Component = component("loss", "aam_softmax")
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    @property
    def embedder(self) -> EmbedderConfig:
        """The part that travels with the model."""
        return EmbedderConfig(self.frontend, self.cmvn, self.model)
