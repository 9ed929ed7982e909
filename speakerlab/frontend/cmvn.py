"""Cepstral mean and variance normalisation per utterance, masked in a padded batch.

In: features [T, F], or [B, T, F] with lengths [B]; out: the same shape.
Example: ``apply_cmvn(fbank(samples), CmvnConfig())``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MIN_STD = 1e-3  # a feature constant over the utterance stays near 0: its rounding is not amplified


@dataclass(frozen=True)
class CmvnConfig:
    """Which moments are taken out, each over the frames of one utterance or crop."""

    mean: bool = True
    std: bool = False

    def __post_init__(self) -> None:
        if self.std and not self.mean:
            raise ValueError("std: needs mean; a deviation is about the mean")


def apply_cmvn(feats: torch.Tensor, config: CmvnConfig, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """``feats`` [..., T, F] with mean 0 and, if asked, standard deviation 1 over time.

    Args:
        feats: [T, F] or [B, T, F].
        config: which moments.
        lengths: int64 [B], frames of each batch entry; frames beyond come back as 0. None: all frames.
    """
    if lengths is None:
        kept = torch.ones(feats.shape[-2], 1, dtype=torch.bool, device=feats.device)
    else:
        frames = torch.arange(feats.shape[1], device=feats.device)
        kept = (frames < lengths[:, None]).unsqueeze(-1)
        feats = feats.masked_fill(~kept, 0)
    if not config.mean:
        return feats
    count = kept.sum(dim=-2, keepdim=True)
    centred = (feats - feats.sum(dim=-2, keepdim=True) / count) * kept
    if not config.std:
        return centred
    variance = centred.square().sum(dim=-2, keepdim=True) / count
    return centred / variance.sqrt().clamp(min=MIN_STD)
