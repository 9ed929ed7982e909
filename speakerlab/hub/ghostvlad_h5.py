"""Names and layouts of GhostVLAD's Keras weights, translated to those of the model ``ghostvlad``.

``keras_key("conv2_a_1x1_reduce/bn", "gamma")`` -> ``"blocks.conv2_a.reduce_bn.weight"``; arrays go through
``torch_layout``. One name for one, 197 in all; our counts of training batches have no counterpart in Keras.
"""

from __future__ import annotations

import re

import numpy as np

from speakerlab.types import Float32Array

_LAYERS = {
    "conv1_1/3x3_s1": "conv1",
    "conv1_1/3x3_s1/bn": "bn1",
    "gvlad_center_assignment": "assignment",
    "gvlad_pool": "",
}
_WEIGHTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_BLOCK = re.compile(r"(conv[2-5]_[abc])_(?:1x1_(reduce|increase|proj)|(3x3))(/bn)?")


def keras_key(layer: str, weight: str) -> str:
    """The key in the state dict for ``weight`` (``"kernel"``) of ``layer`` (``"fc6"``).

    A layer or a weight that the network does not have keeps its name, so that strict loading lists it.
    """
    block = _BLOCK.fullmatch(layer)
    if block:
        name, one_by_one, _, norm = block.groups()
        prefix = f"blocks.{name}.{one_by_one or 'conv'}{'_bn' if norm else ''}"
    else:
        prefix = _LAYERS.get(layer, layer)
    return f"{prefix}.{_WEIGHTS.get(weight, weight)}".lstrip(".")


def torch_layout(weight: str, values: Float32Array) -> Float32Array:
    """``values`` of ``weight`` with the output channels first and the input channels second.

    A kernel is [height, width, in, out] or [in, out]; all else stays as it is.
    """
    if weight != "kernel":
        return values
    return np.ascontiguousarray(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T)
