"""Settings and arrays in one file: JSON in which every number is exact, with a digest that tells damage.

In and out: a tree of dicts, lists, texts, numbers and float64 arrays.
``array_file.write(path, "back-end", {"mean": mean})``; ``array_file.read(path, "back-end", "train again")``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab.errors import DataError
from speakerlab.io import atomic

FORMAT = 1
_ARRAY = {"shape", "float64"}  # the keys of an array: its shape, and its little-endian bytes in base64


def write(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Publish ``content`` as ``path``; ``kind`` says what it is, and must be asked for when it is read."""
    coded = encoded(content)
    card = {"kind": kind, "format": FORMAT, "sha256": _digest(coded), "content": coded}
    atomic.write_text(path, json.dumps(card, indent=1) + "\n")


def read(path: Path, kind: str, fix: str) -> dict[str, Any]:
    """The content of ``path``, every array float64 and writable.

    Args:
        path: what ``write`` wrote.
        kind: what it must be.
        fix: what to do about a file that is none, for the message.

    Raises:
        DataError: it cannot be read, is another file, of another version, or damaged.
    """
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", fix) from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise DataError(path, f"not a {kind} file, or cut short", fix) from error
    if not isinstance(card, dict) or card.get("kind") != kind:
        raise DataError(path, f"not a {kind} file", fix)
    if card.get("format") != FORMAT:
        raise DataError(path, f"has format {card.get('format')}, this version reads {FORMAT}", fix)
    content = card.get("content")
    if not isinstance(content, dict) or _digest(content) != card.get("sha256"):
        raise DataError(path, "is damaged: its content does not match its digest", fix)
    return {key: decoded(value) for key, value in content.items()}


def _digest(coded: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(coded, sort_keys=True).encode()).hexdigest()


def encoded(value: Any) -> Any:
    """``value`` with arrays as dicts that JSON can hold."""
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value, dtype="<f8").tobytes()
        return {"shape": list(value.shape), "float64": base64.b64encode(data).decode()}
    if isinstance(value, dict):
        return {key: encoded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(inner) for inner in value]
    return value


def decoded(value: Any) -> Any:
    """What ``encoded`` was given, every array float64 and writable, tuples as lists."""
    if isinstance(value, dict):
        if value.keys() == _ARRAY:
            data = np.frombuffer(base64.b64decode(value["float64"]), dtype="<f8")
            return data.astype(np.float64).reshape(value["shape"])
        return {key: decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [decoded(inner) for inner in value]
    return value
