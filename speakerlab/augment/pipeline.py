"""All perturbations of a training crop in the order sound travels: room, noise, device, line, level.

``Augmenter(config.augment, noises, rirs, 16000)(samples, rng)`` -> samples of the same length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from speakerlab.augment.band_limit import BandLimitConfig, band_curve
from speakerlab.augment.equalizer import EqualizerConfig, equalize, random_curve
from speakerlab.augment.gain import GainConfig, change_gain
from speakerlab.augment.noise import NoiseConfig, add_noise
from speakerlab.augment.reverb import ReverbConfig, reverberate, simulate_rir
from speakerlab.augment.spec_augment import SpecAugmentConfig
from speakerlab.errors import ConfigError
from speakerlab.types import Float32Array


@dataclass(frozen=True)
class AugmentConfig:
    """Every perturbation with its probability, drawn independently; all off by default.

    ``spec_augment`` is applied to features, by whoever makes them; the rest is ``Augmenter``'s.
    """

    reverb: ReverbConfig = field(default_factory=ReverbConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    equalizer: EqualizerConfig = field(default_factory=EqualizerConfig)
    band_limit: BandLimitConfig = field(default_factory=BandLimitConfig)
    gain: GainConfig = field(default_factory=GainConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)


class Augmenter:
    """Perturbs waveforms; all chance comes from the generator of each call.

    Args:
        config: what is done how often.
        noises: waveforms at ``sample_rate``; any sequence, so that one may read them when asked.
        rirs: recorded room impulse responses at ``sample_rate``, likewise.
        sample_rate: of everything, in Hz.

    Raises:
        ConfigError: a perturbation is on that lacks its noises or responses.
    """

    def __init__(
        self,
        config: AugmentConfig,
        noises: Sequence[Float32Array],
        rirs: Sequence[Float32Array],
        sample_rate: int,
    ) -> None:
        self._config, self._noises, self._rirs, self._sample_rate = config, noises, rirs, sample_rate
        problems = []
        if config.noise.probability > 0 and not len(noises):
            problems.append("noise.probability: above 0, but no noises are given")
        if config.reverb.probability > 0 and config.reverb.simulated < 1 and not len(rirs):
            problems.append("reverb.simulated: below 1, but no room impulse responses are given")
        if problems:
            raise ConfigError("augment", problems)
        self._steps = (
            (config.reverb.probability, self._reverb),
            (config.noise.probability, self._noise),
            (config.equalizer.probability, self._equalizer),
            (config.band_limit.probability, self._band_limit),
            (config.gain.probability, self._gain),
        )

    def __call__(self, samples: Float32Array, rng: np.random.Generator) -> Float32Array:
        """Perturbed ``samples`` [S], |x| <= 1, float32 [S]; the input is left as it is.

        Finite input gives finite output, and only a silent input a silent one: every response
        keeps a direct path, every curve some gain at all frequencies.
        """
        for probability, perturb in self._steps:
            if rng.random() < probability:
                samples = perturb(samples, rng)
        peak = float(np.abs(samples).max())
        return samples / np.float32(peak) if peak > 1 else samples

    def _reverb(self, samples: Float32Array, rng: np.random.Generator) -> Float32Array:
        config = self._config.reverb
        if rng.random() < config.simulated:
            rt60_s, direct_db = config.draw("rt60_s", rng), config.draw("direct_db", rng)
            return reverberate(samples, simulate_rir(rt60_s, direct_db, self._sample_rate, rng))
        return reverberate(samples, self._rirs[int(rng.integers(len(self._rirs)))])

    def _noise(self, samples: Float32Array, rng: np.random.Generator) -> Float32Array:
        noise = self._noises[int(rng.integers(len(self._noises)))]
        return add_noise(samples, noise, self._config.noise.draw("snr_db", rng), rng)

    def _equalizer(self, samples: Float32Array, rng: np.random.Generator) -> Float32Array:
        return equalize(samples, random_curve(self._config.equalizer, self._sample_rate, rng))

    def _band_limit(self, samples: Float32Array, rng: np.random.Generator) -> Float32Array:
        config = self._config.band_limit
        low_hz, high_hz = config.draw("low_hz", rng), config.draw("high_hz", rng)
        return equalize(samples, band_curve(low_hz, high_hz, self._sample_rate))

    def _gain(self, samples: Float32Array, rng: np.random.Generator) -> Float32Array:
        return change_gain(samples, self._config.gain.draw("db", rng))
