"""Checkpoints of a training run: everything an uninterrupted run would still hold in memory.

``save(exp_dir, epoch, state)`` writes ``exp_dir/checkpoints/epoch_0007.pt`` atomically; ``last(exp_dir)``
finds the newest; ``average(paths)`` is stage 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from speakerlab.errors import DataError
from speakerlab.io import atomic

_NAME = re.compile(r"epoch_(\d{4,})\.pt$")


def path_of(exp_dir: Path, epoch: int) -> Path:
    """Where the state after ``epoch`` finished epochs lies."""
    return exp_dir / "checkpoints" / f"epoch_{epoch:04d}.pt"


def finished(exp_dir: Path) -> list[Path]:
    """Every checkpoint of the run, oldest first."""
    folder = exp_dir / "checkpoints"
    found = [p for p in folder.glob("epoch_*.pt") if _NAME.search(p.name)] if folder.is_dir() else []
    return sorted(found, key=epoch_of)


def epoch_of(path: Path) -> int:
    """The number of finished epochs a checkpoint's name states."""
    match = _NAME.search(path.name)
    if match is None:
        raise DataError(path, "is not named epoch_NNNN.pt")
    return int(match.group(1))


def save(exp_dir: Path, epoch: int, state: Mapping[str, Any], keep: int) -> None:
    """Publish the state after ``epoch`` epochs and drop all but the ``keep`` newest checkpoints."""
    with atomic.staged(path_of(exp_dir, epoch)) as temporary:
        torch.save(dict(state), temporary)
    for old in finished(exp_dir)[:-keep]:
        old.unlink()


def load(path: Path) -> dict[str, Any]:
    """The state in ``path``, on the CPU.

    Raises:
        DataError: the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            path, f"cannot be read ({reason})", "delete it to resume from the one before"
        ) from error
    return state


def average(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Element-wise mean of the models in ``paths``, BatchNorm statistics included.

    Integer buffers (``num_batches_tracked``) are taken from the last.
    """
    states = [load(path)["model"] for path in paths]
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in states[-1].items()
    }
