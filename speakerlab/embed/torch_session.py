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
        lengths = [len(feats) for feats in batch]
        size = (len(batch), rounded_up(max(lengths)), batch[0].shape[1])
        padded = torch.zeros(size, pin_memory=self._device.type == "cuda")  # pinned: copied without waiting
        for row, feats in zip(padded, batch, strict=True):
            row[: len(feats)] = torch.from_numpy(feats)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._reduced):
            embeddings = self._model(
                padded.to(self._device, non_blocking=True), torch.tensor(lengths, device=self._device)
            )
        result: Float32Array = embeddings.float().cpu().numpy()
        return result


def rounded_up(num_frames: int) -> int:
    """The next of eight lengths per octave, 4 % longer on average.

    The C library's heap goes on growing with ever new tensor lengths: 1,000 MiB instead of 380 after a few
    hundred utterances of CAM++. oneDNN prepares its kernels for each length, which few lengths spare too.
    """
    step = 1 << max(0, num_frames.bit_length() - 4)
    return -(-num_frames // step) * step
