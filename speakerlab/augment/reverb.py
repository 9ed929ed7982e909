"""Reverberation by a recorded or simulated room impulse response.

``reverberate(samples, simulate_rir(0.5, 3.0, 16000, rng))``: same length, same energy, in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from speakerlab.augment.perturbation import Perturbation
from speakerlab.types import Float32Array

FIRST_REFLECTION_S = 0.002  # a detour of 0.7 m


@dataclass(frozen=True)
class ReverbConfig(Perturbation):
    """Which rooms: recorded ones, and simulated ones of random decay.

    Attributes:
        simulated: share of responses that are simulated; 1 needs no recorded ones.
        min_rt60_s: shortest time in which a simulated room decays by 60 dB.
        max_rt60_s: longest such time.
        min_direct_db: least energy of the direct path over the reverberation.
        max_direct_db: greatest such ratio.
    """

    simulated: float = 1.0
    min_rt60_s: float = 0.15
    max_rt60_s: float = 0.8
    min_direct_db: float = -3.0
    max_direct_db: float = 12.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.simulated <= 1:
            raise ValueError(f"simulated: must be 0 to 1, not {self.simulated}")
        if self.min_rt60_s < 0.01:
            raise ValueError(f"min_rt60_s: must be at least 0.01, not {self.min_rt60_s}")


def simulate_rir(rt60_s: float, direct_db: float, sample_rate: int, rng: np.random.Generator) -> Float32Array:
    """A direct path of 1 at sample 0, then noise decaying by 60 dB in ``rt60_s`` (Polack 1988).

    Args:
        rt60_s: decay time, and the length of the response.
        direct_db: energy of the direct path over that of the rest.
        sample_rate: in Hz.
        rng: draws the noise.
    """
    length = round(rt60_s * sample_rate)
    decay = np.exp(np.linspace(0.0, -3.0 * np.log(10.0), length, dtype=np.float32))
    rir = rng.standard_normal(length, dtype=np.float32) * decay
    rir[: round(FIRST_REFLECTION_S * sample_rate)] = 0
    rir *= np.float32(10 ** (-direct_db / 20) / np.linalg.norm(rir))
    rir[0] = 1.0
    return rir


def reverberate(samples: Float32Array, rir: Float32Array) -> Float32Array:
    """``samples`` [S] in the room of ``rir``: [S], energy kept, direct path (the peak) not delayed.

    Raises:
        ValueError: the response is empty, silent or not finite.
    """
    if not len(rir) or not rir.any() or not np.isfinite(rir).all():
        raise ValueError("room impulse response must be finite and not silent")
    direct = int(np.abs(rir).argmax())
    heard = rir[: direct + len(samples)]  # later echoes fall outside the crop
    size = fft.next_fast_len(len(samples) + len(heard) - 1, real=True)
    spectrum = fft.rfft(samples, size) * fft.rfft(heard, size)
    wet = fft.irfft(spectrum, size)[direct : direct + len(samples)]
    energy = np.linalg.norm(wet)
    return np.asarray(wet * (np.linalg.norm(samples) / energy if energy else 0), dtype=np.float32)
