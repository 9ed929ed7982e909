"""Weights that Keras saved as HDF5 (``save_weights``), read by the names in the file's own attributes.

``read_layers(Path("weights.h5"))`` -> {"fc6": {"kernel": array [4096, 512], "bias": array [512]}, ...}.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab.errors import DataError, MissingExtraError
from speakerlab.types import Float32Array


def read_layers(path: Path) -> dict[str, dict[str, Float32Array]]:
    """The weights of each layer that has any, by their last name without ``:0``.

    Raises:
        DataError: the file is no HDF5 or has not Keras' layout.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "hub") from error
    try:
        with h5py.File(path, "r") as stream:
            return layers_of(stream, path)
    except OSError as error:
        raise DataError(path, f"is no HDF5 file, or damaged ({error})", "copy it again") from error


def layers_of(root: Any, path: Path) -> dict[str, dict[str, Float32Array]]:
    """``read_layers`` of an open file; names are ``str`` or ``bytes``, paths may nest and repeat.

    Raises:
        DataError: an attribute or a weight that an attribute names is missing.
    """
    if "layer_names" not in root.attrs and "model_weights" in root:  # a whole model was saved
        root = _child(root, "model_weights", path)
    layers: dict[str, dict[str, Float32Array]] = {}
    for layer in _names(root, "layer_names", path):
        weights: dict[str, Float32Array] = {}
        for name in _names(_child(root, layer, path), "weight_names", path):
            short = name.rsplit("/", 1)[-1].removesuffix(":0")
            if short in weights:
                raise DataError(path, f"layer {layer} has two weights '{short}'")
            weights[short] = np.asarray(_child(root[layer], name, path), np.float32)
        if weights:
            layers[layer] = weights
    return layers


def _names(node: Any, key: str, path: Path) -> Iterator[str]:
    if key not in node.attrs:
        raise DataError(path, f"has no attribute '{key}', as weights saved by Keras have")
    for name in node.attrs[key]:
        yield name.decode() if isinstance(name, bytes) else str(name)


def _child(node: Any, name: str, path: Path) -> Any:
    if name not in node:
        raise DataError(path, f"names '{name}' but has no such entry")
    found = node[name]
    elsewhere = getattr(found, "file", None) != getattr(node, "file", None)
    if elsewhere or getattr(found, "external", None) or getattr(found, "is_virtual", False):
        raise DataError(path, f"'{name}' is kept in another file, which is not read")
    return found
