"""Hashes of the lists of a data dir: what a step's output was made from.

``fingerprint(Path("data/test"))`` -> ``{"wav.scp": "5f0c...", "segments": "none"}``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def fingerprint(data_dir: Path, names: Iterable[str] = ("wav.scp", "segments")) -> dict[str, str]:
    """Short sha256 of each file ``names`` of the data dir, ``none`` where there is no such file."""

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "none"

    return {name: digest(data_dir / name) for name in names}
