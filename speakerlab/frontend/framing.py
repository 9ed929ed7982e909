"""Where the frames of a front end lie, and the shape that all front ends on frames share.

In: samples [S], or [B, S] with lengths [B]; out: frames [B, T, length], turned into features [B, T, F].
Example: ``frames, num_frames = FrameGrid(400, 160).cut(samples, lengths)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch

from speakerlab.config import Component

Size = TypeVar("Size", int, torch.Tensor)


def to_samples(milliseconds: float, sample_rate: int) -> int:
    """Whole samples in a duration; Kaldi truncates, and so does everything here."""
    return int(sample_rate * milliseconds * 0.001)


def without_dither(frontend: Component) -> Component:
    """``frontend`` with features that depend on the samples alone."""
    if not getattr(frontend.config, "dither", 0):
        return frontend
    return replace(frontend, config=replace(frontend.config, dither=0.0))


def require(checks: Mapping[str, bool]) -> None:
    """Raise ValueError with every message of ``checks`` that does not hold."""
    broken = [message for message, holds in checks.items() if not holds]
    if broken:
        raise ValueError("; ".join(broken))


def within(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """True [B, size] at the positions before each row's length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


@dataclass(frozen=True)
class FrameGrid:
    """Frames of ``length`` samples, one every ``shift``, over a signal extended at both ends.

    Attributes:
        left: samples put before the signal; a negative number drops some of it.
        right: samples put behind it.
        edges: what they are: ``zeros``, or the mirror image with the outermost sample once (``reflect``, as
            torch pads) or twice (``symmetric``, as Kaldi does); ``none`` where there are none.
        mirrored: the signal is first followed by its own time reversal.
    """

    length: int
    shift: int
    left: int = 0
    right: int = 0
    edges: Literal["none", "zeros", "reflect", "symmetric"] = "none"
    mirrored: bool = False

    @property
    def min_samples(self) -> int:
        """Fewest samples that give a frame; about half a frame where the edges are extended as torch does."""
        least = self.length
        if self.edges in {"zeros", "reflect"}:
            least = max(self.length // 2 + 1, self.length - self.left - self.right)
        return -(-least // self._copies)

    @property
    def _copies(self) -> int:
        return 2 if self.mirrored else 1

    def num_frames(self, num_samples: int) -> int:
        """Frames of ``num_samples``; 0 where they are too few."""
        return self._count(num_samples) if num_samples >= self.min_samples else 0

    def _count(self, num_samples: Size) -> Size:
        return (num_samples * self._copies + self.left + self.right - self.length) // self.shift + 1

    def cut(self, samples: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames [B, T, length] of ``samples`` [B, S], and how many [B] belong to each row.

        T is ``num_frames(S)``. Rows end at their own length [B]; frames behind a row's last hold anything.
        """
        if self.edges != "none" or self.mirrored:
            samples = self._extend(samples, lengths[:, None])
        return samples.unfold(1, self.length, self.shift), self._count(lengths)

    def _extend(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Rows of ``samples`` [B, S] with what lies before them and behind their ends, ``lengths`` [B, 1]."""
        sizes = lengths * self._copies
        span = (self.num_frames(samples.shape[1]) - 1) * self.shift + self.length
        position = torch.arange(span, device=samples.device)[None] - self.left
        inside = (position >= 0) & (position < sizes)
        again = int(self.edges == "symmetric")
        source = torch.where(position < 0, -position - again, position)
        source = torch.where(position >= sizes, 2 * sizes - 2 + again - position, source)
        if self.mirrored:
            source = torch.where(source >= lengths, 2 * lengths - 1 - source, source)
        extended = samples.gather(1, source.clamp(0, samples.shape[1] - 1))
        return extended.masked_fill(~inside, 0) if self.edges == "zeros" else extended


class FramedFrontend(ABC):
    """A front end that computes each frame's features from that frame; holds no state besides its settings.

    Args:
        grid: where its frames lie.
        sample_rate: the rate, in Hz, that samples must have.
        dim: features per frame.
    """

    def __init__(self, grid: FrameGrid, sample_rate: int, dim: int) -> None:
        self.grid, self.sample_rate, self.dim = grid, sample_rate, dim

    def prepare(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """The signals [B, S] that are cut into frames; ``samples`` [B, S] of ``lengths`` [B]."""
        return samples

    @abstractmethod
    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Features [B, T, F] of ``frames`` [B, T, length]."""

    def num_frames(self, num_samples: int) -> int:
        """Frames that ``num_samples`` give; 0 where they are too few for one."""
        return self.grid.num_frames(num_samples)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Features [T, F] float32 of ``samples`` [S] in [-1, 1].

        Raises:
            ValueError: samples are not one-dimensional or too few for a frame.
        """
        least = self.grid.min_samples
        if samples.ndim != 1 or len(samples) < least:
            raise ValueError(f"samples {tuple(samples.shape)}: need [S] with S >= {least}")
        feats, _ = self.batch(samples[None], torch.tensor([len(samples)]))
        return feats[0]

    def batch(self, samples: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, T, F] float32 and num_frames [B], on the device of ``samples``.

        Args:
            samples: [B, S] in [-1, 1]; whatever they hold behind an utterance's end is ignored.
            lengths: int64 [B], samples of each utterance. T is ``num_frames(S)``; feats behind an
                utterance's last frame are 0.

        Raises:
            ValueError: an utterance is too short for a frame or longer than S.
        """
        least = self.grid.min_samples
        if samples.ndim != 2 or lengths.min() < least or lengths.max() > samples.shape[1]:
            raise ValueError(f"samples {tuple(samples.shape)}: need [B, S] and {least} <= lengths <= S")
        lengths = lengths.to(samples.device)
        frames, num_frames = self.grid.cut(self.prepare(samples.float(), lengths), lengths)
        feats = self.features(frames)
        return feats.masked_fill(~within(num_frames, feats.shape[1])[..., None], 0), num_frames
