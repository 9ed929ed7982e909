"""Calibrations as JSON: every float exactly, what they were trained on, and which inputs they are for.

``atomic.write_text(path, to_json(calibration))``; ``from_json(path.read_text(), path).llr(inputs)``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speakerlab.backend.calibration import LogisticCalibration, Provenance
from speakerlab.backend.pav import PavCalibration
from speakerlab.errors import DataError

Calibration = LogisticCalibration | PavCalibration
KINDS: dict[str, type[Calibration]] = {
    "logistic calibration": LogisticCalibration,
    "pav calibration": PavCalibration,
}
FIX = "write it with steps/train_calibration.sh"


def to_json(calibration: Calibration) -> str:
    """Text that ``from_json`` turns back into the same calibration."""
    kind = next(kind for kind, of_kind in KINDS.items() if isinstance(calibration, of_kind))
    return json.dumps({"kind": kind, **asdict(calibration)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, path: Path) -> Calibration:
    """The calibration in ``text``, read from ``path``.

    Raises:
        DataError: the text is not one that ``to_json`` wrote.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        kind = KINDS[content.pop("kind")]
        content["provenance"] = Provenance(**content["provenance"])
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        return kind(**values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"is not an intact calibration ({error})", FIX) from error


def load(path: Path) -> Calibration:
    """The calibration in the file ``path``.

    Raises:
        DataError: it cannot be read or is not one.
    """
    try:
        return from_json(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", FIX) from error
    except UnicodeDecodeError as error:
        raise DataError(path, "is not an intact calibration (not UTF-8)", FIX) from error
