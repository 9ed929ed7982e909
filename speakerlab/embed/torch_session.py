"""The network itself, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from speakerlab.errors import SpeakerLabError
from speakerlab.types import Float32Array


class TorchSession:
    """Runs ``model`` on ``device``; lengths are padded and masked.

    Raises:
        SpeakerLabError: bf16 off a GPU.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device, precision: str = "fp32") -> None:
        if precision == "bf16" and device.type != "cuda":
            raise SpeakerLabError("back-end torch has no bf16 on the CPU; use --backend openvino")
        self._model, self._device = model.to(device).eval(), device
        self._reduced = precision == "bf16"

    @torch.inference_mode()
    def embed(self, batch: Sequence[Float32Array]) -> Float32Array:
        """Embeddings [B, E] of features, each [T, F]."""
        lengths = torch.tensor([len(feats) for feats in batch])
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(feats) for feats in batch], batch_first=True
        )
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._reduced):
            embeddings = self._model(padded.to(self._device), lengths.to(self._device))
        result: Float32Array = embeddings.float().cpu().numpy()
        return result
