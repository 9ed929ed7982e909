"""A network that takes the waveform: Kaldi's filter bank, normalisation and embedding in one module.

``WaveformEmbedder(config, model)(samples [B, S]) -> [B, E]``; ``Fbank`` itself computes with torchaudio,
which no exporter can follow. The Fourier transform is a product with a fixed matrix: ONNX's own operators
for it are slow or absent in many runtimes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from speakerlab.errors import SpeakerLabError
from speakerlab.frontend.cmvn import apply_cmvn
from speakerlab.frontend.fbank import FbankConfig
from speakerlab.torchaudio_import import kaldi

if TYPE_CHECKING:
    from speakerlab.hub.bundle import EmbedderConfig


class TraceableFbank(nn.Module):
    """``speakerlab.frontend.fbank.Fbank`` of whole utterances, of one length, as matrix products.

    Raises:
        SpeakerLabError: the settings ask for dither, which is random.
    """

    transform: torch.Tensor
    window: torch.Tensor
    mel: torch.Tensor

    def __init__(self, config: FbankConfig) -> None:
        super().__init__()
        if config.dither:
            raise SpeakerLabError(f"dither {config.dither:g} is random: export with --input feature")
        self.config, self.grid = config, config.grid
        length = self.grid.length
        size = 1 << (length - 1).bit_length()  # frames are padded to a power of two
        angle = torch.arange(length)[:, None] * torch.arange(size // 2 + 1) % size
        angle = angle.double() * (2 * torch.pi / size)
        self.register_buffer("transform", torch.cat([angle.cos(), angle.sin()], dim=1).float())
        self.register_buffer("window", _window(config.window, length))
        low, high = config.low_hz, config.high_hz
        mel, _ = kaldi.get_mel_banks(config.num_mels, size, config.sample_rate, low, high, 100.0, -500.0, 1.0)
        self.register_buffer("mel", nn.functional.pad(mel, (0, 1)).T.contiguous())  # none at Nyquist

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Features [B, T, num_mels] of ``samples`` [B, S] in [-1, 1]."""
        c = self.config
        frames = self._frames(samples * c.scale)
        if c.remove_dc:
            frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
        frames = (frames - c.preemphasis * before) * self.window
        real, imaginary = (frames @ self.transform).chunk(2, dim=2)
        power = real.square() + imaginary.square()
        energies = (power if c.use_power else power.sqrt()) @ self.mel
        return energies.clamp(min=c.log_floor).log() if c.use_log else energies

    def _frames(self, samples: torch.Tensor) -> torch.Tensor:
        """Frames [B, T, length] of ``samples`` [B, S]."""
        size, grid = samples.shape[1], self.grid
        num_frames = (size + grid.left + grid.right - grid.length) // grid.shift + 1
        first = torch.arange(num_frames, device=samples.device) * grid.shift - grid.left
        at = first[:, None] + torch.arange(grid.length, device=samples.device)
        if grid.edges == "symmetric":
            at = torch.where(at < 0, -at - 1, at)
            at = torch.where(at >= size, 2 * size - 1 - at, at)
        return samples[:, at]


def _window(name: str, length: int) -> torch.Tensor:
    if name == "hamming":
        return torch.hamming_window(length, periodic=False, alpha=0.54, beta=0.46)
    return torch.hann_window(length, periodic=False).pow(0.85)


class WaveformEmbedder(nn.Module):
    """Embeddings [B, E] of waveforms [B, S] in [-1, 1] at the front end's rate, all of one length.

    Raises:
        SpeakerLabError: the front end is not ``fbank``, or is random.
    """

    def __init__(self, config: EmbedderConfig, model: nn.Module) -> None:
        super().__init__()
        settings = config.frontend.config
        if not isinstance(settings, FbankConfig):
            raise SpeakerLabError(
                f"front end {config.frontend.name} cannot be part of the graph, only fbank can; "
                "export with --input feature"
            )
        self.fbank, self.cmvn, self.model = TraceableFbank(settings), config.cmvn, model

    def min_samples(self, num_frames: int) -> int:
        """Fewest samples of a waveform of ``num_frames`` and of what the network needs."""
        num_frames = max(num_frames, int(cast("int", self.model.min_frames)))
        grid = self.fbank.grid
        needed = (num_frames - 1) * grid.shift + grid.length - grid.left - grid.right
        return max(needed, grid.length)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, E] of ``samples`` [B, S]."""
        embeddings: torch.Tensor = self.model(apply_cmvn(self.fbank(samples), self.cmvn))
        return embeddings
