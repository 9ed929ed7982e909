"""Checkpoints of a training run: everything an uninterrupted run would still hold in memory.

``save(exp_dir, epoch, state, keep=3)`` writes ``exp_dir/checkpoints/epoch_0007.pt`` atomically;
``finished(exp_dir)`` lists them; ``average(paths)`` is stage 5. Processes with parameters of their own write
a file each: ``epoch_0007.rank1.pt`` and so on, then rank 0 the one above: with it the epoch is finished.
"""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from speakerlab.errors import DataError
from speakerlab.io import atomic

_NAME = re.compile(r"epoch_(\d{4,})\.pt$")


class DamagedError(DataError):
    """A checkpoint's file is not what was written; the one before may do."""


# What torch and zipfile raise for files that are none, cut off or overwritten.
_DAMAGES: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    NotImplementedError,
)


def path_of(exp_dir: Path, epoch: int) -> Path:
    """Where the state after ``epoch`` finished epochs lies."""
    return exp_dir / "checkpoints" / f"epoch_{epoch:04d}.pt"


def part_of(path: Path, rank: int) -> Path:
    """Where process ``rank`` keeps its state that belongs to the checkpoint ``path`` of rank 0."""
    return path.with_suffix(f".rank{rank}.pt") if rank else path


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


def save_part(exp_dir: Path, epoch: int, rank: int, state: Mapping[str, Any]) -> None:
    """Write the state of process ``rank`` > 0; all do, then rank 0 calls ``save``."""
    _write(part_of(path_of(exp_dir, epoch), rank), state)


def save(exp_dir: Path, epoch: int, state: Mapping[str, Any], keep: int) -> None:
    """Publish the state after ``epoch`` epochs and drop all but the ``keep`` newest checkpoints."""
    _write(path_of(exp_dir, epoch), state)
    for old in finished(exp_dir)[:-keep]:
        for part in old.parent.glob(f"{old.stem}.rank*.pt"):
            part.unlink()
        old.unlink()  # last: if killed before, the next call still finds it


def _write(path: Path, state: Mapping[str, Any]) -> None:
    with atomic.staged(path) as temporary:
        torch.save(dict(state), temporary)


def load(path: Path, rank: int = 0) -> dict[str, Any]:
    """The state of process ``rank`` that belongs to the checkpoint ``path``, on the CPU.

    Raises:
        DamagedError: its file is damaged.
        DataError: it is missing.
    """
    part = part_of(path, rank)
    if rank and not part.exists():
        raise DataError(part, "missing", f"resume with as many processes as wrote {path.name}")
    try:
        with zipfile.ZipFile(part) as archive:  # torch compares no checksum
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} does not match its checksum")
        state = torch.load(part, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or "model" not in state:
            raise ValueError("holds no model")
    except _DAMAGES as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        fix = f"delete {path.name if rank else 'it'} to resume from the one before"
        raise DamagedError(part, f"cannot be read ({reason})", fix) from error
    return state


def intact(paths: Sequence[Path]) -> list[Path]:
    """Those of ``paths`` that can be read; the log names the others.

    Raises:
        DamagedError: none can.
    """
    found = []
    for path in paths:
        try:
            load(path)
            found.append(path)
        except DamagedError as error:
            logging.warning("%s: %s; left out", error.path, error.why)
            last = error
    if paths and not found:
        raise last
    return found


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
