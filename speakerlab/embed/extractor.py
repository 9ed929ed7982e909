"""From waveforms to embeddings with a bundle, the same on CPU and CUDA, alone or in a batch.

``Extractor.of_bundle(load_model("exp/model")).embed([waveform])`` -> float32 [1, E]; step by step,
``extractor.session.embed([extractor.from_waveform("utt1", waveform)])``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch

from speakerlab.embed.backends import open_session
from speakerlab.embed.session import Session, SessionConfig
from speakerlab.embed.torch_session import TorchSession
from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.frontend.cmvn import apply_cmvn
from speakerlab.frontend.framing import without_dither
from speakerlab.io import stored
from speakerlab.types import Float32Array, Waveform

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle, EmbedderConfig


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA when there is one (as CUDA_VISIBLE_DEVICES shows it), else the CPU.

    Raises:
        SpeakerLabError: CUDA was asked for and is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SpeakerLabError("no CUDA device is available; use --device cpu")
    return torch.device(name)


class Extractor:
    """Turns waveforms or features into embeddings; ``session`` runs the network, by default torch."""

    def __init__(
        self,
        config: EmbedderConfig,
        model: torch.nn.Module,
        device: str = "cpu",
        session: Session | None = None,
    ) -> None:
        self.config = config
        self.frontend = without_dither(config.frontend).build()
        self.device = pick_device(device)
        self.session = session or TorchSession(model, self.device)
        self.min_frames = int(cast("int", model.min_frames))

    @classmethod
    def of_bundle(
        cls, bundle: Bundle, device: str = "cpu", running: SessionConfig | None = None
    ) -> Extractor:
        """The extractor of a loaded bundle; ``running`` chooses back-end and precision (torch, fp32).

        Raises:
            SpeakerLabError: there is no such device, or the back-end cannot run the network on it.
            MissingExtraError: the back-end is not installed.
        """
        session = open_session(bundle, pick_device(device), running) if running else None
        return cls(bundle.config, bundle.model, device, session)

    @property
    def sample_rate(self) -> int:
        """The rate, in Hz, that waveforms must have."""
        return int(self.frontend.sample_rate)

    @property
    def frame_shift_s(self) -> float:
        """Seconds from one frame of features to the next."""
        return float(self.frontend.grid.shift / self.sample_rate)

    def from_waveform(
        self, utt_id: str, waveform: Waveform, voiced: npt.NDArray[Any] | None = None
    ) -> Float32Array:
        """Model input [T', F] of ``waveform``; see ``normalise``.

        Raises:
            AudioError: it is too short for a frame, or what ``normalise`` raises.
        """
        try:
            feats = self.features(waveform)
        except ValueError as error:
            raise AudioError(utt_id, str(error)) from error
        return self.normalise(utt_id, feats, voiced)

    def from_features(
        self, utt_id: str, feats: Float32Array, voiced: npt.NDArray[Any] | None = None
    ) -> Float32Array:
        """Model input [T', F] of raw features [T, F], such as stored ones; see ``normalise``.

        Raises:
            AudioError: they are of another size than the model takes, or what ``normalise`` raises.
        """
        if feats.ndim != 2 or feats.shape[1] != self.frontend.dim:
            raise AudioError(utt_id, f"features are {feats.shape}, the model needs [T, {self.frontend.dim}]")
        return self.normalise(utt_id, torch.from_numpy(feats.copy()), voiced)

    def features(self, waveform: Waveform) -> torch.Tensor:
        """Raw features [T, F] of ``waveform``; its rate must be ``sample_rate``."""
        if waveform.sample_rate != self.sample_rate:
            raise SpeakerLabError(
                f"waveform is {waveform.sample_rate} Hz, the model needs {self.sample_rate}"
            )
        feats: torch.Tensor = self.frontend(torch.from_numpy(waveform.samples))
        return feats

    def normalise(self, utt_id: str, feats: torch.Tensor, voiced: npt.NDArray[Any] | None) -> Float32Array:
        """Model input [T', F]: voiced frames only, where a decision per frame is given, then CMVN.

        Raises:
            AudioError: NaN or Inf features, decisions that are not one per frame, or fewer frames left
                than the model can see.
        """
        if not torch.isfinite(feats).all():
            raise AudioError(utt_id, "NaN or Inf features")
        if voiced is not None:
            feats = stored.speech(utt_id, feats, voiced > 0)
        if len(feats) < self.min_frames:
            raise AudioError(utt_id, f"{len(feats)} frames of speech, the model needs {self.min_frames}")
        return np.ascontiguousarray(apply_cmvn(feats, self.config.cmvn).numpy())

    def embed(self, waveforms: Sequence[Waveform]) -> Float32Array:
        """Embeddings [B, E] of whole waveforms at ``sample_rate``.

        Raises:
            AudioError: one is too short; called by its place, from 0.
        """
        return self.session.embed([self.from_waveform(str(n), w) for n, w in enumerate(waveforms)])
