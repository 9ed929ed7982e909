"""What an experiment folder says of itself: its settings and its training, as far as they are there.

``Experiment.read(Path("exp/first"))``: the resolved ``config.yaml``, ``provenance.json``, ``train.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speakerlab.errors import DataError

CURVES = {"loss": "loss", "accuracy": "accuracy", "valid_eer": "validation EER", "lr": "learning rate"}


@dataclass(frozen=True)
class Experiment:
    """Contents of an experiment folder.

    Attributes:
        settings: text of the resolved configuration; empty without one.
        provenance: what training was told and where it ran.
        epochs: the lines of ``train.jsonl``.
    """

    settings: str
    provenance: Mapping[str, Any]
    epochs: list[dict[str, Any]]

    @classmethod
    def read(cls, exp_dir: Path) -> Experiment:
        """Whatever of the three files is there.

        Raises:
            DataError: no such folder, or a file that is no JSON.
        """
        if not exp_dir.is_dir():
            raise DataError(exp_dir, "no such experiment folder", "check the path")
        provenance = _lines(exp_dir / "provenance.json")
        epochs = _lines(exp_dir / "train.jsonl")
        return cls(
            "\n".join(_lines(exp_dir / "config.yaml")),
            _json(exp_dir / "provenance.json", "\n".join(provenance), 1) if provenance else {},
            [_json(exp_dir / "train.jsonl", line, number) for number, line in enumerate(epochs, 1)],
        )

    def curves(self) -> dict[str, list[float | None]]:
        """Values by epoch of what was logged, by label; what no epoch has is left out."""
        columns = {label: [epoch.get(name) for epoch in self.epochs] for name, label in CURVES.items()}
        return {
            label: values for label, values in columns.items() if any(value is not None for value in values)
        }


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}", "train again, or take the file away") from error


def _json(path: Path, text: str, number: int) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(path, f"not JSON: {error}", "train again, or take the file away", number) from error
    if not isinstance(content, dict):
        raise DataError(path, "not a JSON object", "train again, or take the file away", number)
    return content
