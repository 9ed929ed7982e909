"""Voice activity by frame energy: the rule of Kaldi's ``compute-vad``.

In: samples [S] in [-1, 1] and the frames of the front end; out: float32 [T], 1 voiced, 0 not.
Example: ``compute_vad(samples, FbankConfig().grid, VadConfig())``; T agrees with the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from speakerlab.frontend.framing import FrameGrid

SCALE = 32768.0  # the thresholds are meant for 16-bit samples, whatever scale the features use


@dataclass(frozen=True)
class VadConfig:
    """Kaldi's four options with the values of its sre and voxceleb recipes.

    Attributes:
        energy_threshold: constant part of the threshold on the log energy.
        energy_mean_scale: times the utterance's mean log energy: the part that adapts.
        frames_context: frames looked at on each side.
        proportion_threshold: share of the looked-at frames above the threshold that makes a frame voiced.
    """

    energy_threshold: float = 5.5
    energy_mean_scale: float = 0.5
    frames_context: int = 2
    proportion_threshold: float = 0.12

    def __post_init__(self) -> None:
        if self.energy_mean_scale < 0:
            raise ValueError("energy_mean_scale: must not be negative")
        if self.frames_context < 0:
            raise ValueError("frames_context: must not be negative")
        if not 0 < self.proportion_threshold < 1:
            raise ValueError("proportion_threshold: must lie between 0 and 1")


def log_energy(samples: torch.Tensor, grid: FrameGrid) -> torch.Tensor:
    """Natural log of each frame's summed squares [T], mean removed, before pre-emphasis and window.

    ``samples`` [S] lie in [-1, 1]; energies are those of 16-bit samples, floored at float32 epsilon.
    """
    frames, _ = grid.cut(samples.float()[None] * SCALE, torch.tensor([len(samples)]))
    centred = frames[0] - frames[0].mean(dim=1, keepdim=True)
    return centred.square().sum(dim=1).clamp(min=torch.finfo(torch.float32).eps).log()


def voiced_frames(log_energies: torch.Tensor, config: VadConfig) -> torch.Tensor:
    """Decisions float32 [T] for ``log_energies`` [T].

    A frame is voiced if, of the frames within ``frames_context`` of it that exist, at least
    ``proportion_threshold`` lie above ``energy_threshold + energy_mean_scale * mean``.
    """
    threshold = config.energy_threshold + config.energy_mean_scale * log_energies.mean()
    above = (log_energies > threshold).float()
    window = torch.ones(1, 1, 2 * config.frames_context + 1)
    counts, totals = torch.nn.functional.conv1d(
        torch.stack([above, torch.ones_like(above)]).unsqueeze(1), window, padding=config.frames_context
    ).squeeze(1)
    voiced: torch.Tensor = (counts >= totals * config.proportion_threshold).float()
    return voiced


def compute_vad(samples: torch.Tensor, grid: FrameGrid, config: VadConfig) -> torch.Tensor:
    """Voice decisions float32 [T], one for each feature frame of ``samples`` [S] in [-1, 1]."""
    return voiced_frames(log_energy(samples, grid), config)
