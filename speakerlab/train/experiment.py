"""The settings of a training run: ``conf/config.yaml`` on ``conf/base.yaml`` become one frozen object.

``experiment = config.load(ExperimentConfig, Path("conf/config.yaml"))``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speakerlab import registry
from speakerlab.augment.pipeline import AugmentConfig
from speakerlab.config import Component, component
from speakerlab.frontend.cmvn import CmvnConfig
from speakerlab.frontend.framing import require, without_dither
from speakerlab.hub.bundle import EmbedderConfig


@dataclass(frozen=True)
class SamplingConfig:
    """How an epoch is drawn from the data.

    Attributes:
        crop_s: length of a training crop; a shorter utterance is repeated to this length.
        speeds: speed factors; every one besides 1.0 adds a copy of each speaker as a new class.
        crops_per_epoch: 0 means one pass: every utterance gives duration / crop_s crops.
        views: crops at once of each drawn speaker, of different utterances where there are as many; losses
            that compare crops need 2 or more.
    """

    crop_s: float = 3.0
    speeds: tuple[float, ...] = (1.0, 0.9, 1.1)
    crops_per_epoch: int = 0
    views: int = 1

    def __post_init__(self) -> None:
        hundredths = [100 * speed for speed in self.speeds]
        require(
            {
                "speeds: must start with 1.0 and hold no factor twice": self.speeds[:1] == (1.0,)
                and len(set(self.speeds)) == len(self.speeds),
                "speeds: factors are multiples of 0.01 in 0.5..2.0": all(
                    50 <= speed <= 200 and abs(speed - round(speed)) < 1e-4 for speed in hundredths
                ),
                "crop_s: must be positive": self.crop_s > 0,
                "crops_per_epoch: must not be negative": self.crops_per_epoch >= 0,
                "views: must be at least 1": self.views >= 1,
            }
        )


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

    def __post_init__(self) -> None:
        require(
            {
                "lr: must be positive": self.lr > 0,
                "lr_final: must be 0 to lr": 0 <= self.lr_final <= self.lr,
                "warmup_epochs: must not be negative": self.warmup_epochs >= 0,
                "momentum: must be at least 0 and below 1": 0 <= self.momentum < 1,
                "weight_decay: must not be negative": self.weight_decay >= 0,
                "grad_clip: must not be negative; 0 clips nothing": self.grad_clip >= 0,
            }
        )


@dataclass(frozen=True)
class TrainConfig:
    """Length and pace of training; epochs may be fractional where a schedule is meant.

    Attributes:
        margin_epochs: the loss margin grows from 0 to its setting between these two epochs; where they are
            equal, it is switched on there.
        average: how many last checkpoints stage 5 averages; as many are kept.
        precision: bf16 is autocast; weights and loss stay fp32.
    """

    epochs: int = 20
    batch_size: int = 64
    margin_epochs: tuple[float, ...] = (4.0, 10.0)
    average: int = 3
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        ramp = self.margin_epochs
        require(
            {
                "epochs: must be at least 1": self.epochs >= 1,
                "batch_size: must be at least 2": self.batch_size >= 2,
                "average: must be 1 to epochs": 1 <= self.average <= self.epochs,
                "margin_epochs: must be [start, end] with 0 <= start <= end": len(ramp) == 2
                and 0 <= ramp[0] <= ramp[1],
            }
        )


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

    def __post_init__(self) -> None:
        views = getattr(registry.get("loss", self.loss.name), "MIN_VIEWS", 1)
        require(
            {
                f"sampling.views: must be at least {views} with loss {self.loss.name}": self.sampling.views
                >= views,
                "seed: must not be negative": self.seed >= 0,
            }
        )

    @property
    def embedder(self) -> EmbedderConfig:
        """The part that travels with the model; dither stays with the training."""
        return EmbedderConfig(without_dither(self.frontend), self.cmvn, self.model)
