"""A random smooth gain curve over frequency: microphones, distances and tilts of the spectrum.

``equalize(samples, random_curve(EqualizerConfig(), 16000, rng))``: same length, in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from speakerlab.augment.perturbation import Perturbation
from speakerlab.types import Float32Array, Float64Array

GRID = 257  # frequencies at which a curve is given, 0 to Nyquist; linear in between


@dataclass(frozen=True)
class EqualizerConfig(Perturbation):
    """How strong and how bumpy the curves are.

    Attributes:
        max_db: bound on the gain at any frequency, up and down; each curve reaches a random share of it.
        num_bumps: half waves of the finest part of the curve over the mel axis; 1 is a tilt only.
    """

    max_db: float = 8.0
    num_bumps: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_db < 0 or self.num_bumps < 1:
            raise ValueError("max_db, num_bumps: must be at least 0 and 1")


def grid_hz(sample_rate: int) -> Float64Array:
    """The frequencies [GRID] of a curve."""
    return np.linspace(0.0, sample_rate / 2, GRID)


def random_curve(config: EqualizerConfig, sample_rate: int, rng: np.random.Generator) -> Float64Array:
    """Amplitude gains [GRID]: a random sum of ``num_bumps`` cosines over the mel axis."""
    mel = np.log1p(grid_hz(sample_rate) / 700.0)
    waves = np.cos(np.pi * np.outer(np.arange(1, config.num_bumps + 1), mel / mel[-1]))
    shape = rng.standard_normal(config.num_bumps) @ waves
    peak_db = rng.uniform(0.0, config.max_db)
    return np.asarray(10 ** (peak_db / 20 * shape / np.abs(shape).max()))


def equalize(samples: Float32Array, gains: Float64Array) -> Float32Array:
    """``samples`` [S] with amplitude ``gains`` [GRID] over 0 to Nyquist, phase untouched: [S]."""
    # The grid's spacing bounds the filter's response to about GRID samples each way: room for it.
    size = fft.next_fast_len(len(samples) + 2 * GRID, real=True)
    spectrum = fft.rfft(samples, size)
    at = np.linspace(0.0, GRID - 1, len(spectrum))
    spectrum *= np.interp(at, np.arange(GRID), gains).astype(np.float32)
    return np.asarray(fft.irfft(spectrum, size)[: len(samples)], dtype=np.float32)
