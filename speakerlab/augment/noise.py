"""Additive noise at a signal-to-noise ratio.

``add_noise(samples, noise, snr_db=10.0, rng=rng)``: any stretch of ``noise``, same length as ``samples``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speakerlab.augment.perturbation import Perturbation
from speakerlab.types import Float32Array


@dataclass(frozen=True)
class NoiseConfig(Perturbation):
    """How loud the noise is: signal-to-noise ratio in dB."""

    min_snr_db: float = 0.0
    max_snr_db: float = 15.0


def power(samples: Float32Array) -> float:
    """Mean square of ``samples``."""
    return float(np.dot(samples, samples)) / len(samples)


def _stretch(noise: Float32Array, length: int, rng: np.random.Generator) -> Float32Array:
    """``length`` samples from a random place; a shorter noise is repeated, not stretched."""
    if len(noise) >= length:
        start = int(rng.integers(len(noise) - length + 1))
        return noise[start : start + length]
    start = int(rng.integers(len(noise)))
    repeats = -(-(start + length) // len(noise))
    return np.tile(noise, repeats)[start : start + length]


def add_noise(
    samples: Float32Array, noise: Float32Array, snr_db: float, rng: np.random.Generator
) -> Float32Array:
    """``samples`` [S] with a random stretch of ``noise`` [N] added ``snr_db`` below (mean powers).

    A stretch that is digitally silent, as recordings padded with zeros have, adds nothing.

    Raises:
        ValueError: the noise is empty, silent or not finite.
    """
    if not len(noise) or not 0 < power(noise) < np.inf:
        raise ValueError("noise must be finite and not silent")
    stretch = _stretch(noise, len(samples), rng)
    stretch_power = power(stretch)
    if stretch_power == 0:
        return samples
    gain = np.sqrt(power(samples) / stretch_power * 10 ** (-snr_db / 10))
    return samples + np.float32(gain) * stretch
