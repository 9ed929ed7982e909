"""Entries of a card that hold for one model alone: under a hash of their own, beside the hash of the model.

``entry = card_entry.sealed(content, hash)``; ``card_entry.opened(entry, hash, path, what, build)`` -> what
``build`` makes of the content, or a refusal where it was changed or belongs to another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from speakerlab.errors import DataError

T = TypeVar("T")


def sealed(content: Mapping[str, Any], model: str) -> dict[str, Any]:
    """``content`` as an entry for the model whose content hash is ``model``."""
    named = {"model": model, **content}
    return {**named, "sha256": _digest(named)}


def opened(
    entry: Any, model: str, path: Path, what: tuple[str, str], build: Callable[[dict[str, Any]], T]
) -> T:
    """What ``build`` makes of the content of ``entry``.

    Args:
        entry: what ``sealed`` gave.
        model: content hash of the model it stands beside.
        path: the card, for messages.
        what: the entry's name and how it is made anew, for messages.
        build: of content that is none it raises ``KeyError``, ``TypeError``, ``ValueError`` or
            ``AttributeError``.

    Raises:
        DataError: the entry is damaged, was changed, or was made for another model.
    """
    name, fix = what
    try:
        content = {key: value for key, value in entry.items() if key != "sha256"}
        intact = entry["sha256"] == _digest(content)
        made_for = content.pop("model")
        found = build(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"its {name} is damaged ({error})", fix) from error
    if not intact:
        raise DataError(path, f"its {name} does not match its hash", fix)
    if made_for != model:
        raise DataError(path, f"its {name} was made for another model", fix)
    return found


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
