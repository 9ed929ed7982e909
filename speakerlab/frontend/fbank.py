"""Log mel filter-bank energies as Kaldi computes them (torchaudio does the arithmetic).

In: samples [S] in [-1, 1]; out: features [T, num_mels] float32, no mean normalisation.
Example: ``Fbank(FbankConfig(num_mels=40))(torch.from_numpy(waveform.samples))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from speakerlab.frontend.torchaudio_import import kaldi
from speakerlab.registry import register


@dataclass(frozen=True)
class FbankConfig:
    """Every constant that decides the numbers; a model is trained for one set of them.

    Attributes:
        high_hz: upper edge of the filters; 0 or less is an offset from the Nyquist frequency.
        dither: standard deviation of noise added in the scaled domain, from torch's global generator;
            0 keeps the features a function of the samples.
        scale: what samples in [-1, 1] are multiplied by: 32768 is the 16-bit range that Kaldi and
            WeSpeaker models expect, 1 what 3D-Speaker models expect.
        snip_edges: frames lie wholly inside the signal; else the edges are reflected (Kaldi).
        use_power: power spectrum, else magnitude.
        use_log: natural logarithm of the energies, floored at ``log_floor``.
        log_floor: least energy under the logarithm; the default is Kaldi's, float32 epsilon.
    """

    sample_rate: int = 16000
    num_mels: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    window: Literal["povey", "hamming"] = "povey"
    preemphasis: float = 0.97
    remove_dc: bool = True
    low_hz: float = 20.0
    high_hz: float = 0.0
    dither: float = 0.0
    scale: float = 32768.0
    snip_edges: bool = True
    use_power: bool = True
    use_log: bool = True
    log_floor: float = 1.1920928955078125e-07

    def __post_init__(self) -> None:
        nyquist = self.sample_rate / 2
        top = self.high_hz if self.high_hz > 0 else nyquist + self.high_hz
        checks = {
            "sample_rate: must be positive": self.sample_rate > 0,
            "num_mels: must be at least 4": self.num_mels >= 4,
            "frame_length_ms: must be at least 1 ms": self.frame_length_ms >= 1,
            "frame_shift_ms: must be at least 1 ms": self.frame_shift_ms >= 1,
            "preemphasis: must be 0 to 1": 0 <= self.preemphasis <= 1,
            f"low_hz, high_hz: must rise within 0 to {nyquist:g} Hz": 0 <= self.low_hz < top <= nyquist,
            "dither: must not be negative": self.dither >= 0,
            "scale: must be positive": self.scale > 0,
            "log_floor: must be positive": self.log_floor > 0,
        }
        broken = [message for message, holds in checks.items() if not holds]
        if broken:
            raise ValueError("; ".join(broken))


@register("frontend")
class Fbank:
    """Callable front end; holds no state besides its settings."""

    Config = FbankConfig

    def __init__(self, config: FbankConfig) -> None:
        self.config = config
        self._frame_length = int(config.sample_rate * config.frame_length_ms * 0.001)  # Kaldi truncates
        self._frame_shift = int(config.sample_rate * config.frame_shift_ms * 0.001)

    @property
    def dim(self) -> int:
        """Features per frame."""
        return self.config.num_mels

    @property
    def sample_rate(self) -> int:
        """The rate, in Hz, that samples must have."""
        return self.config.sample_rate

    def num_frames(self, num_samples: int) -> int:
        """Frames that ``num_samples`` give; 0 where they are fewer than one frame."""
        if num_samples < self._frame_length:
            return 0
        if self.config.snip_edges:
            return 1 + (num_samples - self._frame_length) // self._frame_shift
        return (num_samples + self._frame_shift // 2) // self._frame_shift

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Features [T, F] float32 of ``samples`` [S] in [-1, 1].

        Raises:
            ValueError: samples are not one-dimensional or fewer than one frame.
        """
        c = self.config
        if samples.ndim != 1 or len(samples) < self._frame_length:
            raise ValueError(f"samples {tuple(samples.shape)}: need [S] with S >= {self._frame_length}")
        energies: torch.Tensor = kaldi.fbank(
            (samples.float() * c.scale).unsqueeze(0),
            sample_frequency=c.sample_rate,
            num_mel_bins=c.num_mels,
            frame_length=c.frame_length_ms,
            frame_shift=c.frame_shift_ms,
            window_type=c.window,
            preemphasis_coefficient=c.preemphasis,
            remove_dc_offset=c.remove_dc,
            low_freq=c.low_hz,
            high_freq=c.high_hz,
            dither=c.dither,
            snip_edges=c.snip_edges,
            use_power=c.use_power,
            use_log_fbank=False,  # the floor under the logarithm is a setting here, a constant there
        )
        return energies.clamp(min=c.log_floor).log() if c.use_log else energies
