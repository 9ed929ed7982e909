"""People from a JSON object of names and paths, ``{"Ann": ["a.wav", "b.wav"]}``, and the writing of one.

``write(Path("people.json"), listing)``; ``read(Path("people.json"), root=".")`` -> a ``Listing``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.voiceprint.sources.listing import Fault, Lister, Listing

MAX_BYTES = 256 << 20


def write(path: Path, listing: Listing) -> None:
    """The recordings of each person, in order: UTF-8, indented by 4, letters of every script as they are.

    Raises:
        DataError: it cannot be written.
    """
    atomic.write_text(path, json.dumps(listing.paths(), ensure_ascii=False, indent=4))


def read(path: Path, root: str, *, allow_outside: bool = False) -> Listing:
    """What such a file lists; a name that stands twice in it counts with both lists.

    Args:
        path: the file.
        root: folder where relative paths begin.
        allow_outside: whether paths may leave it.

    Raises:
        DataError: it is no such file.
    """
    lister = Lister(root, allow_outside=allow_outside)
    for name, paths in _pairs(path):
        if not isinstance(paths, list):
            raise DataError(path, f"{name[:100]!r} has no list of paths", 'write: {"NAME": ["PATH", ...]}')
        for number, one in enumerate(paths, 1):
            listed = one if isinstance(one, str) else Fault(f"is no text: {str(one)[:40]}")
            lister.add(name, listed, f"{path}, {name[:100]!r}, path {number}")
        if not paths:
            lister.refuse(name, "", f"{path}: {name[:100]!r} has no recordings")
    if not lister.listing.items and not lister.listing.refused:
        raise DataError(path, "lists nobody")
    return lister.listing


def _pairs(path: Path) -> list[tuple[str, Any]]:
    """Names and what is beside them; ``json`` alone would keep only the last of two equal names."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(path, f"is larger than {MAX_BYTES >> 20} MB", "split it")
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text, object_pairs_hook=_Pairs)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        why = f"is no JSON in UTF-8: {' '.join(str(error).split())[:100]}"
        raise DataError(path, why) from error
    if not isinstance(found, _Pairs):
        raise DataError(path, "is no JSON object", 'write: {"NAME": ["PATH", ...]}')
    return found.content


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A JSON object as it was written; no list, which stands for paths."""

    content: list[tuple[str, Any]]
