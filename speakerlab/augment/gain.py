"""A random level.

``change_gain(samples, -6.0)`` halves the amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speakerlab.augment.perturbation import Perturbation
from speakerlab.types import Float32Array


@dataclass(frozen=True)
class GainConfig(Perturbation):
    """The change of level in dB."""

    min_db: float = -15.0
    max_db: float = 5.0


def change_gain(samples: Float32Array, gain_db: float) -> Float32Array:
    """``samples`` [S] at another level."""
    return samples * np.float32(10 ** (gain_db / 20))
