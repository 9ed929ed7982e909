"""Where it is said: a session's room, microphone, noise and level, all drawn from one generator.

``heard = draw_session(rng).record(clean, draw_noise("pink", len(clean), rng))``: float64 [S] at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import fftconvolve

SAMPLE_RATE = 16000
NOISE_KINDS = ("white", "pink", "hum", "babble")
EQUALIZER_HZ = np.geomspace(60, 8000, 9)  # where the random gains of a microphone are drawn
EQUALIZER_DB = 6.0  # their standard deviation
PEAK_LIMIT = 0.95

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Session:
    """One recording occasion.

    Attributes:
        response: float64 [R], the room: direct sound, then exponentially decaying noise.
        gains_db: float64 [9], the microphone at ``EQUALIZER_HZ``.
        low_hz: where the microphone starts.
        high_hz: where it ends.
        noise_kind: one of ``NOISE_KINDS``.
        snr_db: speech over noise.
        level_db: RMS of the recording relative to full scale.
    """

    response: Samples
    gains_db: Samples
    low_hz: float
    high_hz: float
    noise_kind: str
    snr_db: float
    level_db: float

    def record(self, clean: Samples, noise: Samples) -> Samples:
        """What the microphone gives of dry speech and noise, all float64 [S], within ``PEAK_LIMIT``."""
        speech = fftconvolve(clean, self.response)[: len(clean)]
        noise = noise * rms(speech) / rms(noise) * 10 ** (-self.snr_db / 20)
        heard = self.equalize(speech + noise)
        heard *= 10 ** (self.level_db / 20) / rms(heard)
        return heard * min(1.0, PEAK_LIMIT / float(np.abs(heard).max()))

    def equalize(self, samples: Samples) -> Samples:
        """The microphone: its gains between the drawn frequencies, 12 dB per octave outside its band."""
        size = next_fast_len(len(samples), real=True)
        freqs_hz = np.maximum(rfftfreq(size, 1 / SAMPLE_RATE), 1.0)
        gains_db = np.interp(np.log(freqs_hz), np.log(EQUALIZER_HZ), self.gains_db)
        gains_db -= 12 * np.maximum(0, np.log2(self.low_hz / freqs_hz))
        gains_db -= 12 * np.maximum(0, np.log2(freqs_hz / self.high_hz))
        heard: Samples = irfft(rfft(samples, size) * 10 ** (gains_db / 20), size)[: len(samples)]
        return heard


def draw_session(rng: np.random.Generator) -> Session:
    """A random room, microphone, noise and level."""
    return Session(
        response=draw_response(rng),
        gains_db=rng.normal(0.0, EQUALIZER_DB, len(EQUALIZER_HZ)),
        low_hz=rng.uniform(60, 350),
        high_hz=rng.uniform(3000, 7500),
        noise_kind=str(rng.choice(NOISE_KINDS)),
        snr_db=rng.uniform(8, 25),
        level_db=rng.uniform(-38, -20),
    )


def draw_response(rng: np.random.Generator) -> Samples:
    """A room: unit direct sound, then noise that falls by 60 dB in the reverberation time, float64 [R]."""
    decay_s, direct_db = rng.uniform(0.15, 0.7), rng.uniform(-2, 12)
    time_s = np.arange(int(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s)
    response[time_s < 0.002] = 0  # nothing arrives within 2 ms of the direct sound
    response *= 10 ** (-direct_db / 20) / np.linalg.norm(response)
    response[0] = 1
    return response


def draw_noise(kind: str, num_samples: int, rng: np.random.Generator) -> Samples:
    """White or pink noise, or mains hum over a little white noise, float64 [num_samples]."""
    white = rng.standard_normal(num_samples)
    if kind == "white":
        return white
    if kind == "pink":
        size = next_fast_len(num_samples, real=True)
        spectrum = rfft(white, size)
        pink: Samples = irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), size)[:num_samples]
        return pink
    phase = 2 * np.pi * rng.uniform(49.8, 60.2) * np.arange(num_samples) / SAMPLE_RATE
    hum = sum(rng.normal() / k * np.sin(k * phase + rng.uniform(0, 2 * np.pi)) for k in range(1, 13))
    return np.asarray(hum + 0.1 * white)


def rms(samples: Samples) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(samples**2)))
