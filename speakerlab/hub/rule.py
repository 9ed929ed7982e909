"""How a model's scores become decisions: a calibration or an adaptation, one of them, beside its weights.

``rule.of_card(card, content_hash, path)`` -> ``Calibration``, ``Adaptation`` or None; ``rule.entry(found,
content_hash)`` is the card's entry, ``rule.metadata(found)`` that of an ONNX file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from speakerlab.hub import adaptation, calibration, card_entry
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration

Rule: TypeAlias = Calibration | Adaptation
KEYS = (calibration.KEY, adaptation.KEY)


def entry(rule: Rule, model: str) -> dict[str, Any]:
    """The entry, by its key, of the card of the model whose content hash is ``model``."""
    key, content = _content(rule)
    return {key: card_entry.sealed(content, model)}


def identity(rule: Rule) -> str:
    """A hash by which what was decided can name the rule in force; the same in every form of the model."""
    key, content = _content(rule)
    return str(card_entry.sealed(content, key)["sha256"])


def of_card(card: Mapping[str, Any], model: str, path: Path) -> Rule | None:
    """The rule in ``card``, which is ``path``, for the model whose content hash is ``model``.

    Raises:
        DataError: it is damaged, was changed, or was made for another model.
    """
    if adaptation.KEY in card:
        what = (adaptation.KEY, adaptation.FIX)
        return card_entry.opened(card[adaptation.KEY], model, path, what, adaptation.from_content)
    if calibration.KEY in card:
        what = (calibration.KEY, calibration.FIX)
        return card_entry.opened(card[calibration.KEY], model, path, what, calibration.from_content)
    return None


def metadata(rule: Rule) -> dict[str, str]:
    """The rule in the metadata of an ONNX file; other runtimes find ``threshold`` in it."""
    key, content = _content(rule)
    return {key: json.dumps({**content, "threshold": rule.threshold})}


def of_metadata(told: Mapping[str, str]) -> Rule | None:
    """The rule in the metadata of an ONNX file, which its own hash protects."""
    if adaptation.KEY in told:
        return adaptation.from_content(json.loads(told[adaptation.KEY]))
    if calibration.KEY in told:
        content = json.loads(told[calibration.KEY])
        content.pop("threshold")  # follows from the rest
        return calibration.from_content(content)
    return None


def _content(rule: Rule) -> tuple[str, dict[str, Any]]:
    if isinstance(rule, Adaptation):
        return adaptation.KEY, rule.to_content()
    return calibration.KEY, dataclasses.asdict(rule)
