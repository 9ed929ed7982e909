"""GhostVLAD's public Keras weights, ``weights.h5``: the file, or a folder that holds it.

``load(Path("weights.h5"))`` -> Bundle. The front end is that of its authors' evaluation: the signal followed
by its time reversal, magnitudes of 257 bins, each frame standardised over its bins; no mean is removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerlab.errors import DataError
from speakerlab.hub import foreign, ghostvlad_h5, keras_h5
from speakerlab.hub.bundle import Bundle

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.h5"
CLASSIFIER = "prediction"  # the layer that training adds
FRONT_END: dict[str, Any] = {
    "name": "spectrogram",
    "edges": "zeros",
    "use_power": False,
    "use_log": False,
    "standardise_bins": True,
    "append_reversed": True,
}


def recognises(path: Path) -> bool:
    """Whether ``path`` is such a file or folder."""
    return path.suffix == ".h5" if path.is_file() else (path / WEIGHTS).is_file()


def load(path: Path) -> Bundle:
    """The model at ``path``; sizes are read off the weights.

    Raises:
        DataError: the file is damaged, not Keras', or not of this network.
        MissingExtraError: h5py is not installed.
    """
    weights = path if path.is_file() else path / WEIGHTS
    layers = keras_h5.read_layers(weights)
    layers.pop(CLASSIFIER, None)
    state = _state(layers)
    centers = state.get("centers")
    if centers is None or centers.ndim != 2 or "fc6.weight" not in state:
        raise DataError(weights, "is not GhostVLAD: no layers gvlad_pool and fc6")
    num_clusters = state["fc6.weight"].shape[1] // centers.shape[1]
    model = {
        "name": "ghostvlad",
        "embed_dim": int(centers.shape[1]),
        "num_clusters": num_clusters,
        "num_ghosts": int(centers.shape[0]) - num_clusters,
    }
    settings = {"frontend": FRONT_END, "cmvn": {"mean": False}, "model": model}
    return foreign.to_bundle(foreign.Origin(path, "ghostvlad", weights, weights), settings, state)


def _state(layers: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
    """The weights under our names and in torch's layout, with the batch counts that Keras has not."""
    import torch

    state = {
        ghostvlad_h5.keras_key(layer, weight): torch.from_numpy(ghostvlad_h5.torch_layout(weight, values))
        for layer, weights in layers.items()
        for weight, values in weights.items()
    }
    counts = {
        f"{key.removesuffix('.running_mean')}.num_batches_tracked": torch.tensor(0)
        for key in state
        if key.endswith(".running_mean")
    }
    return {**state, **counts}
