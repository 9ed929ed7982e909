"""Models that other toolkits have written: the one way from their files to a ``Bundle``, strictly checked.

Each format's module says which of our settings its files mean, and gives them here with the weights:
``to_bundle(Origin(path, "wespeaker", path / "config.yaml", path / "avg_model.pt"), settings, state)``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerlab import config as config_io
from speakerlab.errors import DataError
from speakerlab.hub import bundle
from speakerlab.io.digest import sha256
from speakerlab.registry import nearest

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Settings = Mapping[str, Any]
# Features of 3D-Speaker and ModelScope: Kaldi's, of samples in [-1, 1] (facts of both front ends).
UNIT_FBANK: Settings = {"name": "fbank", "window": "povey", "scale": 1.0}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        path: what was asked for.
        format: name of the format.
        description: the file that says which network it is.
        weights: the file with its parameters.
    """

    path: Path
    format: str
    description: Path
    weights: Path


def to_bundle(
    origin: Origin, settings: Settings, state: State, threshold: float | None = None
) -> bundle.Bundle:
    """The network that ``settings`` (sections of ``EmbedderConfig``) describe, with the weights ``state``.

    Raises:
        ConfigError: the settings are not valid.
        DataError: the weights do not fit the network.
    """
    config = config_io.from_mapping(bundle.EmbedderConfig, settings, origin.description)
    feat_dim = config.frontend.build().dim
    model = config.model.build(feat_dim=feat_dim)
    bundle.load_strict(model, state, origin.weights)
    hashes = {
        origin.weights.name: sha256(origin.weights),
        bundle.CONFIG: hashlib.sha256(config_io.dump(config).encode()).hexdigest(),
    }
    provenance = {"source": str(origin.path), "format": origin.format}
    card = bundle.describe(model, feat_dim, hashes, provenance, threshold)
    return bundle.Bundle(origin.path, config, model.eval(), card)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The mapping in a file of ``torch.save``; pickled code in it is never run.

    Raises:
        DataError: no such file, a damaged one, or one that holds more than weights.
    """
    import torch

    require_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a damaged file torch's reader fails in any way, IndexError too
        why = "is damaged, or holds pickled code, which is never run"
        raise DataError(path, why, "copy it again, from its publisher") from error
    if not isinstance(content, Mapping):
        raise DataError(path, f"holds a {type(content).__name__}, not weights by name")
    return dict(content)


def tensors(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """``content`` as weights by name.

    Raises:
        DataError: something in it is no tensor; ``path`` is named.
    """
    import torch

    others = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise DataError(path, f"holds {len(others)} entries that are no tensors: {', '.join(others[:5])}")
    return dict(content)


def strip_prefix(state: State, prefix: str) -> dict[str, Tensor]:
    """``state`` with ``prefix`` taken off the names that have it."""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def set_aside(state: State, prefix: str, what: str) -> dict[str, Tensor]:
    """``state`` without the names under ``prefix``, which only training needs; the log says so."""
    kept = {key: value for key, value in state.items() if not key.startswith(prefix)}
    if len(kept) < len(state):
        logging.info("%s* set aside: %d tensors of the %s", prefix, len(state) - len(kept), what)
    return kept


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object.

    Raises:
        DataError: no such file, damaged, or something else.
    """
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is damaged ({error})", "copy it again") from error
    if not isinstance(content, dict):
        raise DataError(path, "must hold a JSON object")
    return content


def description_keys(path: Path) -> frozenset[str]:
    """The keys of the YAML mapping in ``path``, by which formats are told apart; none without that file.

    Raises:
        ConfigError: it is no YAML mapping.
    """
    return frozenset(map(str, config_io.read_yaml(path))) if path.is_file() else frozenset()


def require_file(path: Path) -> None:
    """Raise DataError unless ``path`` is a file."""
    if not path.is_file():
        raise DataError(path, "no such file", "download or copy the model again")


def is_inside(name: str) -> bool:
    """Whether ``name``, joined to a folder, stays below it, going by its text.

    Links are not followed: the files in a hub's cache are links to elsewhere in that cache.
    """
    parts = re.split(r"[/\\]", name)
    return not {"", ".."} & set(parts) and "\0" not in name and ":" not in parts[0]


def member(folder: Path, name: str, description: Path) -> Path:
    """The file of ``folder`` that ``description`` calls ``name``.

    Raises:
        DataError: the name leads out of the folder.
    """
    if not is_inside(name):
        raise DataError(description, f"names {name!r}, which is not in the model's folder")
    return folder / name


def renamed(arguments: Settings, names: Mapping[str, str | None], path: Path) -> dict[str, Any]:
    """The entries of ``arguments`` under our names.

    Args:
        arguments: of a constructor of theirs.
        names: their name -> ours, or None where an argument only matters in training.
        path: the file at fault.

    Raises:
        DataError: an argument is not among ``names``: leaving it out could give another network.
    """
    unknown = sorted(str(key) for key in arguments.keys() - names.keys())
    if unknown:
        raise DataError(path, f"unknown model settings: {', '.join(unknown)}; known: {', '.join(names)}")
    return {ours: arguments[theirs] for theirs, ours in names.items() if ours and theirs in arguments}


def pooling(name: Any, names: Mapping[str, str], path: Path) -> str:
    """Our name of the pooling that they call ``name``.

    Raises:
        DataError: there is none.
    """
    if name not in names:
        raise DataError(path, f"pooling {name!r} is not read; {nearest(str(name), list(names))}")
    return names[name]
