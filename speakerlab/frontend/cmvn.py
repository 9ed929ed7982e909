"""Cepstral mean and variance normalisation, per utterance or sliding, masked in a padded batch.

In: features [T, F], or [B, T, F] with lengths [B]; out: the same shape.
Example: ``apply_cmvn(fbank(samples), CmvnConfig())``; Kaldi's sliding one: ``CmvnConfig(window=300)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MIN_STD = 1e-3  # a feature constant over the utterance stays near 0: its rounding is not amplified


@dataclass(frozen=True)
class CmvnConfig:
    """Which moments are taken out, and over which frames of the utterance or crop.

    Attributes:
        window: frames of a window that slides over the utterance, as in Kaldi's ``apply-cmvn-sliding``
            (its recipes: 300); 0 is the whole utterance.
        min_window: fewest frames of a window that ends at its frame (``center`` false).
        center: the window lies around its frame, moved inward at the ends; else it holds the frame and the
            ``window`` frames before.
    """

    mean: bool = True
    std: bool = False
    window: int = 0
    min_window: int = 100
    center: bool = True

    def __post_init__(self) -> None:
        if self.std and not self.mean:
            raise ValueError("std: needs mean; a deviation is about the mean")
        if self.window < 0:
            raise ValueError("window: must not be negative")
        if self.min_window < 1:
            raise ValueError("min_window: must be positive")


def apply_cmvn(feats: torch.Tensor, config: CmvnConfig, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """``feats`` [..., T, F] with mean 0 and, if asked, standard deviation 1 over time.

    Args:
        feats: [T, F] or [B, T, F].
        config: which moments, of which frames.
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
    if config.window:
        return _slide(feats, config, kept.sum(dim=-2)) * kept
    count = kept.sum(dim=-2, keepdim=True)
    centred = (feats - feats.sum(dim=-2, keepdim=True) / count) * kept
    if not config.std:
        return centred
    variance = centred.square().sum(dim=-2, keepdim=True) / count
    return centred / variance.sqrt().clamp(min=MIN_STD)


def window_bounds(
    num_frames: int, lengths: torch.Tensor, config: CmvnConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """First frame of each frame's window and the frame behind its last, [..., T]; ``lengths`` [..., 1].

    A window that would begin before the utterance is moved to its start, then one that would end behind
    the utterance to its end, and is cut where it is longer than the utterance.
    """
    frame = torch.arange(num_frames, device=lengths.device)
    start = (frame - (config.window // 2 if config.center else config.window)).clamp(min=0)
    end = start + config.window if config.center else (frame + 1).clamp(min=config.min_window)
    start = (start - (end - lengths).clamp(min=0)).clamp(min=0)
    return start, torch.minimum(end, lengths)


def _slide(feats: torch.Tensor, config: CmvnConfig, lengths: torch.Tensor) -> torch.Tensor:
    """``feats`` [..., T, F], 0 behind ``lengths`` [..., 1], normalised frame by frame over their windows."""
    start, end = window_bounds(feats.shape[-2], lengths, config)
    exact = feats.double()  # differences of running sums, as Kaldi, in double precision

    def window_mean(values: torch.Tensor) -> torch.Tensor:
        sums = torch.nn.functional.pad(values.cumsum(dim=-2), (0, 0, 1, 0))
        first, last = (at[..., None].expand_as(values) for at in (start, end))
        return (sums.gather(-2, last) - sums.gather(-2, first)) / (end - start)[..., None]

    mean = window_mean(exact)
    centred = exact - mean
    if config.std:
        variance = window_mean(exact.square()) - mean.square()
        centred = centred / variance.clamp(min=MIN_STD**2).sqrt()
    return centred.to(feats.dtype)
