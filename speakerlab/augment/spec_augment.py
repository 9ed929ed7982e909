"""SpecAugment: stretches of time and bands of frequency are masked (Park et al. 2019).

``spec_augment(feats, SpecAugmentConfig(num_time_masks=1), rng)`` on mean-normalised features [T, F].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SpecAugmentConfig:
    """How many masks and how wide at most; no masks by default."""

    num_time_masks: int = 0
    max_time_frames: int = 10
    num_freq_masks: int = 0
    max_freq_bins: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"{name}: must not be negative")


def _mask(size: int, num_masks: int, widest: int, rng: np.random.Generator) -> list[slice]:
    """Random stretches of an axis; together never more than half of it."""
    masks = []
    for _ in range(num_masks):
        width = int(rng.integers(min(widest, size // (2 * num_masks)) + 1))
        start = int(rng.integers(size - width + 1))
        masks.append(slice(start, start + width))
    return masks


def spec_augment(feats: torch.Tensor, config: SpecAugmentConfig, rng: np.random.Generator) -> torch.Tensor:
    """A copy of ``feats`` [T, F] with masked parts 0, which is the mean of normalised features."""
    masked = feats.clone()
    for stretch in _mask(feats.shape[0], config.num_time_masks, config.max_time_frames, rng):
        masked[stretch] = 0
    for band in _mask(feats.shape[1], config.num_freq_masks, config.max_freq_bins, rng):
        masked[:, band] = 0
    return masked
