"""A 3D-Speaker experiment directory: ``config.yaml`` and ``models/CKPT-EPOCH-<n>-00/embedding_model.ckpt``.

``load(Path("exp/cam++"))`` -> Bundle of the newest checkpoint. The configuration wires classes together as
``{obj: dotted.path, args: {...}}`` with ``<references>``; here it is read as data, nothing is imported.
RDINO and SDPN experiments (``models/checkpoint.pth``): see ``self_supervised``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from speakerlab import config as config_io
from speakerlab.errors import DataError
from speakerlab.hub import foreign, self_supervised
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.self_supervised import Frontend
from speakerlab.registry import nearest

DESCRIPTION, CHECKPOINTS, CARD = "config.yaml", "models", "CKPT.yaml"
WEIGHTS, TEACHER_WEIGHTS = "embedding_model.ckpt", "checkpoint.pth"
_KEYS = {"embedding_model", "feature_extractor", "teacher_model"}  # of its description alone
POOLINGS = {"TAP": "tap", "TSTP": "tstp"}


class _Class(NamedTuple):
    """A class of 3D-Speaker: our model, what its constructor defaults to, its arguments under our names."""

    model: str
    defaults: Mapping[str, Any]
    arguments: Mapping[str, str]


_SIZES = {
    "feat_dim": "feat_dim",
    "embedding_size": "embed_dim",
    "m_channels": "m_channels",
    "num_blocks": "num_blocks",
    "pooling_func": "pooling",
}
_TWO_LAYERS = {**_SIZES, "two_emb_layer": "two_emb_layer"}
# dotted path below speakerlab.models -> class
_CLASSES = {
    "campplus.DTDNN.CAMPPlus": _Class(
        "campplus",
        {"embed_dim": 512},
        {
            "feat_dim": "feat_dim",
            "embedding_size": "embed_dim",
            "growth_rate": "growth_rate",
            "bn_size": "bn_size",
            "init_channels": "init_channels",
        },
    ),
    "eres2net.ERes2Net.ERes2Net": _Class("eres2net", {}, _TWO_LAYERS),
    "eres2net.ERes2Net_huge.ERes2Net": _Class(
        "eres2net", {"m_channels": 64, "base_width": 24, "scale": 3, "expansion": 4}, _TWO_LAYERS
    ),
    "eres2net.ERes2NetV2.ERes2NetV2": _Class(
        "eres2netv2", {}, {**_SIZES, "baseWidth": "base_width", "scale": "scale", "expansion": "expansion"}
    ),
    "res2net.Res2Net.Res2Net": _Class("res2net", {}, _SIZES),
    "resnet.ResNet.ResNet": _Class("resnet", {"two_emb_layer": True, "embed_dim": 128}, _TWO_LAYERS),
    "ecapa_tdnn.ECAPA_TDNN.ECAPA_TDNN": _Class(
        "ecapa_tdnn",
        {"channels": (512, 512, 512, 512, 1536)},
        {
            "input_size": "feat_dim",
            "lin_neurons": "embed_dim",
            "channels": "channels",
            "kernel_sizes": "kernel_sizes",
            "dilations": "dilations",
            "res2net_scale": "res2net_scale",
            "se_channels": "se_channels",
        },
    ),
    "xvector.TDNN.Xvector": _Class(
        "xvector",
        {},
        {
            "feat_dim": "feat_dim",
            "hid_dim": "hidden_dim",
            "stats_dim": "stats_dim",
            "embed_dim": "embed_dim",
            "pooling_func": "pooling",
        },
    ),
}


def recognises(path: Path) -> bool:
    """Whether ``path`` is such a directory, by what its description names."""
    return bool(_KEYS & foreign.description_keys(path / DESCRIPTION))


def load(path: Path, ssl_frontend: Frontend = "mel_spectrogram") -> Bundle:
    """The newest checkpoint of the experiment in ``path``.

    Args:
        path: the directory.
        ssl_frontend: features of RDINO and SDPN.

    Raises:
        DataError: a file is missing or damaged, the class is unknown, the weights do not fit.
        ConfigError: ``config.yaml`` is no YAML, or a setting is not valid.
    """
    description = path / DESCRIPTION
    config = config_io.read_yaml(description)
    if "teacher_model" in config:
        weights = path / CHECKPOINTS / TEACHER_WEIGHTS
        origin = foreign.Origin(path, "3d-speaker", description, weights)
        return self_supervised.load(origin, foreign.read_checkpoint(weights), 16000, ssl_frontend)
    model = _model(config, description)
    feat_dim = model.pop("feat_dim", None)
    origin = foreign.Origin(path, "3d-speaker", description, newest_checkpoint(path / CHECKPOINTS) / WEIGHTS)
    settings = {**_front_end(config, feat_dim, description), "model": model}
    state = foreign.tensors(foreign.read_checkpoint(origin.weights), origin.weights)
    return foreign.to_bundle(origin, settings, state)


def newest_checkpoint(path: Path) -> Path:
    """The folder ``CKPT*`` below ``path`` whose ``CKPT.yaml`` has the latest ``unixtime``.

    Raises:
        DataError: there is none, or a card has no time.
    """
    times: dict[Path, float] = {}
    for card in sorted(path.glob(f"CKPT*/{CARD}")):
        time = config_io.read_yaml(card).get("unixtime")
        if not isinstance(time, int | float):
            raise DataError(card, "has no unixtime", "remove this checkpoint or copy it again")
        times[card.parent] = time
    if not times:
        raise DataError(path, f"no checkpoint: no CKPT*/{CARD}", "train first, or copy the checkpoints too")
    return max(times, key=lambda folder: times[folder])


def resolve(config: Mapping[str, Any], value: Any, path: Path, chain: tuple[str, ...] = ()) -> Any:
    """``value`` with every ``<name>`` in it replaced by ``config[name]``, resolved in turn.

    Raises:
        DataError: a reference to nothing, or to itself; ``path`` is named.
    """
    if isinstance(value, Mapping):
        return {key: resolve(config, item, path, chain) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(config, item, path, chain) for item in value]
    if not (isinstance(value, str) and value.startswith("<") and value.endswith(">")):
        return value
    name = value[1:-1]
    if name in chain:
        raise DataError(path, f"'{value}' refers to itself")
    if name not in config:
        raise DataError(path, f"'{value}' refers to nothing; {nearest(name, sorted(map(str, config)))}")
    return resolve(config, config[name], path, (*chain, name))


def _node(config: Mapping[str, Any], key: str, path: Path) -> tuple[str, dict[str, Any]]:
    """Dotted path and resolved arguments of the node ``key``."""
    node = config.get(key)
    if not isinstance(node, Mapping) or not isinstance(node.get("obj"), str):
        raise DataError(path, f"'{key}' must be a node with obj and args")
    arguments = resolve(config, node.get("args") or {}, path)
    if not isinstance(arguments, dict):
        raise DataError(path, f"'{key}.args' must be a mapping")
    return node["obj"], arguments


def _model(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The section ``model`` of our configuration, and ``feat_dim``."""
    dotted, arguments = _node(config, "embedding_model", path)
    name = dotted.removeprefix("speakerlab.models.")
    if name not in _CLASSES:
        raise DataError(path, f"embedding_model.obj '{dotted}' is not read; {nearest(name, [*_CLASSES])}")
    cls = _CLASSES[name]
    settings = {**cls.defaults, **foreign.renamed(arguments, cls.arguments, path)}
    if "pooling" in settings:
        settings["pooling"] = foreign.pooling(settings["pooling"], POOLINGS, path)
    return {"name": cls.model, **settings}


def _front_end(config: Mapping[str, Any], feat_dim: Any, path: Path) -> dict[str, Any]:
    """The sections ``frontend`` and ``cmvn`` of our configuration."""
    dotted, arguments = _node(config, "feature_extractor", path)
    if dotted.rsplit(".", 1)[-1] != "FBank":
        raise DataError(path, f"feature_extractor.obj '{dotted}' is not read; valid: FBank")
    read = foreign.renamed(
        arguments, {"n_mels": "num_mels", "sample_rate": "sample_rate", "mean_nor": "mean"}, path
    )
    mean = read.pop("mean", False)
    if feat_dim is not None and feat_dim != read.get("num_mels"):
        raise DataError(path, f"the network takes {feat_dim} features, FBank gives {read.get('num_mels')}")
    return {"frontend": {**foreign.UNIT_FBANK, **read}, "cmvn": {"mean": mean}}
