"""Errors people meet: each is one line that says where, what, and what to do.

``speakerlab.bin.entry`` prints them without a traceback and exits 1; any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speakerlab import distribution


class SpeakerLabError(Exception):
    """Base of every error that is the input's fault, not the program's; it can cross processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[SpeakerLabError], args: tuple[Any, ...], state: dict[str, Any]) -> SpeakerLabError:
    """An error as it was; the constructors take other arguments than the message they pass on."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class DataError(SpeakerLabError):
    """A table, archive or data dir breaks its contract.

    Args:
        path: the file or folder at fault.
        why: what is wrong.
        fix: what to do about it.
        line: 1-based line number, when one line is at fault.
    """

    def __init__(self, path: str | Path, why: str, fix: str = "", line: int | None = None) -> None:
        self.path, self.why, self.fix, self.line = str(path), why, fix, line
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {why}" + (f"; {fix}" if fix else ""))


class AudioError(SpeakerLabError):
    """One utterance's audio cannot be used.

    Args:
        name: the utterance or recording id.
        why: what is wrong.
        pipe: command for ``wav.scp`` that reads the file, which may be whole.
    """

    def __init__(self, name: str, why: str, pipe: str = "") -> None:
        self.name, self.why, self.pipe = name, why, pipe
        super().__init__(f"{name}: {why}" + (f"; in wav.scp, write: {pipe}" if pipe else ""))


class SilenceError(AudioError):
    """The audio can be read and has no sound; a window of a long recording may do without."""


class ConfigError(SpeakerLabError):
    """A configuration is not valid; ``problems`` lists every fault found, one line each."""

    def __init__(self, path: str | Path, problems: Sequence[str]) -> None:
        self.path, self.problems = str(path), list(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


class MissingExtraError(SpeakerLabError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {distribution.how_to_install(extra)}")
