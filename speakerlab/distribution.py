"""The name of this package on the package index: how extras are installed, and what is mixed with it.

The index has a package ``speakerlab`` of another project, so the distribution is ``speakerlab-recipes``.
``how_to_install("onnx")`` -> "pip install 'speakerlab-recipes[onnx]'", or the line that works in a clone.
"""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

NAME = "speakerlab-recipes"
_PARENT = Path(__file__).resolve().parents[1]  # site-packages, or a clone


def how_to_install(*extras: str) -> str:
    """The command that adds ``extras`` to the Python that runs."""
    if not (_PARENT / "requirements" / "constraints.txt").is_file():
        return f"pip install '{NAME}[{','.join(extras)}]'"
    python = shlex.quote(_from_here(Path(sys.executable)))
    files = (_from_here(_PARENT / "requirements" / f"{extra}.txt") for extra in extras)
    pip = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return " ".join([pip, *(f"-r {shlex.quote(file)}" for file in files)])


def _from_here(path: Path) -> str:
    """``path`` as short as it can be written in the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def conflict() -> str:
    """One line if the other ``speakerlab`` is or was installed in the same folder, else an empty string.

    Both have ``speakerlab/__init__.py`` and ``speakerlab/bin/train.py``: the later installation replaces
    them, and pip removes them with either.
    """
    others = sorted(path.stem for path in _PARENT.glob("speakerlab-*.dist-info"))
    if others:
        why = f"{_PARENT} also holds {others[0]}, another project's package"
    elif not hasattr(sys.modules["speakerlab"], "__version__"):
        why = f"{_PARENT / 'speakerlab'} is incomplete: another package of this name was removed"
    else:
        return ""
    return f"{why}; run: pip uninstall -y speakerlab {NAME}; then install {NAME} again"
