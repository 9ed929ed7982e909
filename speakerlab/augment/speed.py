"""Speed perturbation by resampling: pitch and tempo change together, as sox ``speed`` does.

``change_speed(samples, 1.1)`` is 10 % faster and shorter. What speaker a copy belongs to is the
training set's business (Yamamoto et al. 2019: a new one).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

from speakerlab.types import Float32Array

ZERO_CROSSINGS = 16  # of the interpolation kernel, on each side
KAISER_BETA = 8.0  # about 80 dB stop band


@cache
def _kernel(up: int, down: int) -> Float32Array:
    """Low-pass filter at the lower of the two Nyquist frequencies."""
    from scipy.signal import firwin  # 0.7 s to import: here, where only training comes

    longest = max(up, down)
    taps = firwin(2 * ZERO_CROSSINGS * longest + 1, 1 / longest, window=("kaiser", KAISER_BETA))
    return np.asarray(taps, dtype=np.float32)


def change_speed(samples: Float32Array, factor: float) -> Float32Array:
    """``samples`` [S] played ``factor`` times as fast: float32 [ceil(S / factor)].

    Raises:
        ValueError: factor is not positive, or not a fraction with a denominator up to 100.
    """
    ratio = Fraction(factor).limit_denominator(100)
    if ratio <= 0 or abs(ratio - factor) > 1e-6:
        raise ValueError(f"speed factor {factor}: must be a positive fraction with a denominator up to 100")
    if ratio == 1:
        return samples
    from scipy.signal import resample_poly

    up, down = ratio.denominator, ratio.numerator
    return np.asarray(resample_poly(samples, up, down, window=_kernel(up, down)), dtype=np.float32)
