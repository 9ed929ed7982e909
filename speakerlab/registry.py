"""Components by name: file name = registry name = YAML name = test id.

``get("model", "campplus")`` imports ``speakerlab/nn/models/campplus.py`` and returns its registered
class; ``names("model")`` lists the folder. A new component is a new file; nothing else is edited.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from speakerlab.errors import SpeakerLabError

# kind -> package folder that holds one component per file
FOLDERS = {
    "model": "nn/models",
    "pooling": "nn/pooling",
    "loss": "nn/losses",
    "frontend": "frontend",
}
_ROOT = Path(__file__).parent
_components: dict[tuple[str, str], type[Any]] = {}
T = TypeVar("T")


def register(kind: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: the component of this module; its name is the module's.

    The class must carry ``Config``, the frozen dataclass it is built from.
    """

    def add(cls: type[T]) -> type[T]:
        _components[kind, cls.__module__.rsplit(".", 1)[-1]] = cls
        return cls

    return add


def names(kind: str) -> list[str]:
    """Every component of ``kind``, sorted: the modules of its folder that register one."""
    files = (_ROOT / FOLDERS[kind]).glob("*.py")
    mark = f'@register("{kind}")'
    return sorted(f.stem for f in files if mark in f.read_text(encoding="utf-8"))


def nearest(name: str, valid: list[str]) -> str:
    """``did you mean 'x'? valid: ...`` for messages about a wrong name."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}valid: {', '.join(valid)}"


def get(kind: str, name: str) -> type[Any]:
    """The class registered as ``name``.

    Raises:
        SpeakerLabError: no such component; the message names the nearest.
    """
    if (kind, name) not in _components:
        valid = names(kind)
        if name not in valid:
            raise SpeakerLabError(f"unknown {kind} '{name}'; {nearest(name, valid)}")
        package = FOLDERS[kind].replace("/", ".")
        importlib.import_module(f"speakerlab.{package}.{name}")
    return _components[kind, name]
