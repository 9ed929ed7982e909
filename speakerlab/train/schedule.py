"""Learning rate and margin as pure functions of the (fractional) epoch.

``learning_rate(config, epoch=3.5, epochs=20)``; nothing to save, so a resumed run cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from speakerlab.train.experiment import OptimizerConfig


def learning_rate(config: OptimizerConfig, epoch: float, epochs: int) -> float:
    """Linear warm-up from 0 to ``lr``, then half a cosine down to ``lr_final`` at the last epoch."""
    if epoch < config.warmup_epochs:
        return config.lr * epoch / config.warmup_epochs
    done = (epoch - config.warmup_epochs) / max(epochs - config.warmup_epochs, 1e-9)
    half_cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.lr_final + (config.lr - config.lr_final) * half_cosine


def margin(target: float, epoch: float, ramp_epochs: Sequence[float]) -> float:
    """0 before the ramp, ``target`` from its end on, linear within; a ramp of no length is a step."""
    start, end = ramp_epochs
    if epoch >= end:
        return target
    return target * (epoch - start) / (end - start) if epoch > start else 0.0
