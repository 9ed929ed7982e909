"""Band limits of telephones and cheap microphones.

``equalize(samples, band_curve(300.0, 3400.0, 16000))`` is telephone speech at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speakerlab.augment.equalizer import grid_hz
from speakerlab.augment.perturbation import Perturbation
from speakerlab.types import Float64Array

ORDER = 8  # of the Butterworth edges: 48 dB per octave


@dataclass(frozen=True)
class BandLimitConfig(Perturbation):
    """Where the band begins and ends; an upper edge beyond Nyquist leaves the top as it is."""

    min_low_hz: float = 50.0
    max_low_hz: float = 300.0
    min_high_hz: float = 3400.0
    max_high_hz: float = 7500.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_low_hz <= 0 or self.max_low_hz >= self.min_high_hz:
            raise ValueError("min_low_hz, max_low_hz, min_high_hz: must be positive and rise")


def band_curve(low_hz: float, high_hz: float, sample_rate: int) -> Float64Array:
    """Amplitude gains [GRID] of Butterworth edges, -3 dB at ``low_hz`` and at ``high_hz``."""
    hz = np.maximum(grid_hz(sample_rate), 1.0)
    high_pass, low_pass = (low_hz / hz) ** (2 * ORDER), (hz / high_hz) ** (2 * ORDER)
    return np.asarray(1 / np.sqrt((1 + high_pass) * (1 + low_pass)))
