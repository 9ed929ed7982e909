"""A WeSpeaker model directory: ``config.yaml`` names the network, ``avg_model.pt`` has its weights.

``load(Path("voxceleb_resnet293_LM"))`` -> Bundle. Of an experiment, which has ``models/avg_model.pt``, the
folder, ``models/`` or a checkpoint can be given. Features are Kaldi's, of samples times 32768 in a Hamming
window, minus their mean; dither is 0, as in WeSpeaker's own extraction. ``tfmel`` is our ``tf_mel``. Its
TSTP adds 1e-7 under the root, ours 1e-8: relative differences of embeddings stay near 1e-5, and near 1e-4
where many channels are constant, as XVEC's in utterances below a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from speakerlab import config as config_io
from speakerlab import registry
from speakerlab.errors import DataError
from speakerlab.hub import foreign, redimnet_pt
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.foreign import State
from speakerlab.registry import nearest

DESCRIPTION, WEIGHTS, CHECKPOINTS = "config.yaml", "avg_model.pt", "models"
_KEYS = {"model", "model_args"}  # of its description, and of no other format's
BN_EPS = 1e-5  # of ReDimNet's normalisation of what is pooled
POOLINGS = {"TAP": "tap", "TSTP": "tstp", "ASTP": "astp", "MHASTP": "mhastp", "MQMHASTP": "mqmhastp"}


class _Network(NamedTuple):
    """A name of WeSpeaker: the variant of our model that it is, and its arguments under our names.

    ``fixed`` are arguments with one value that is read, ``settings`` what differs from the variant;
    ``translate`` gives its weights our names.
    """

    model: str
    variant: str
    arguments: Mapping[str, str | None]
    fixed: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}
    translate: Callable[[State], State] = dict


def _translate_eres2net(state: State) -> State:
    """In a fusing block the first convolution of the split has a name of its own, outside the list."""
    listed = re.compile(r"^(layer[34]\.\d+\.(?:convs|bns)\.)(\d+)")
    first = re.compile(r"^(layer[34]\.\d+\.(?:conv|bn))2_1\.")
    moved = {listed.sub(lambda m: f"{m[1]}{int(m[2]) + 1}", key): value for key, value in state.items()}
    return {first.sub(r"\1s.0.", key): value for key, value in moved.items()}


def _translate_redimnet(state: State) -> State:
    """Theirs does not normalise what is pooled."""
    import torch

    moved = {re.sub(r"^seg_1\.", "linear.", key): value for key, value in state.items()}
    zeros = torch.zeros(state["seg_1.weight"].shape[1] if "seg_1.weight" in state else 0)
    neutral = {"weight": zeros + 1, "bias": zeros, "running_mean": zeros, "running_var": zeros + 1 - BN_EPS}
    neutral["num_batches_tracked"] = torch.tensor(0)
    return {**redimnet_pt.place_fusions(moved), **{f"bn.{key}": value for key, value in neutral.items()}}


_DIMS = {"feat_dim": "feat_dim", "embed_dim": "embed_dim"}
_POOLED = {**_DIMS, "pooling_func": "pooling"}
_TWO_LAYERS = {**_POOLED, "two_emb_layer": "two_emb_layer"}
_ERES2NET = {**_TWO_LAYERS, "baseWidth": "base_width", "scale": "scale", "expansion": "expansion"}
_XVECTOR = {**_POOLED, "hid_dim": "hidden_dim", "stats_dim": "stats_dim"}
_ECAPA = {**_DIMS, "emb_bn": "embed_norm"}
_SIMAM = {"acoustic_dim": "feat_dim", "embed_dim": "embed_dim", "in_planes": "m_channels", "dropout": None}
_REDIMNET = {"pooling_func": "ASTP", "two_emb_layer": False}


def _redimnet(variant: str, **settings: Any) -> _Network:
    return _Network("redimnet", variant, _DIMS, _REDIMNET, settings, _translate_redimnet)


def _redimnet2(variant: str, **settings: Any) -> _Network:
    names = {**_DIMS, "return_2d_output": "image_head"}
    return _Network("redimnet2", variant, names, {"pooling_func": "ASTP"}, {"image_head": False, **settings})


_NETWORKS = {
    **{
        f"ResNet{depth}": _Network("resnet", f"resnet{depth}", _TWO_LAYERS)
        for depth in (18, 34, 50, 101, 152, 221, 293)
    },
    "CAMPPlus": _Network("campplus", "e512", _DIMS, {"pooling_func": "TSTP"}),
    "ECAPA_TDNN_c512": _Network("wespeaker_ecapa", "c512", _ECAPA, {"pooling_func": "ASTP"}),
    "ECAPA_TDNN_GLOB_c512": _Network("wespeaker_ecapa", "c512_glob", _ECAPA, {"pooling_func": "ASTP"}),
    "ECAPA_TDNN_c1024": _Network("wespeaker_ecapa", "c1024", _ECAPA, {"pooling_func": "ASTP"}),
    "ECAPA_TDNN_GLOB_c1024": _Network("wespeaker_ecapa", "c1024_glob", _ECAPA, {"pooling_func": "ASTP"}),
    "ERes2Net34_Base": _Network("eres2net", "base", _TWO_LAYERS, translate=_translate_eres2net),
    "ERes2Net34_Large": _Network("eres2net", "large", _TWO_LAYERS, translate=_translate_eres2net),
    "ERes2Net34_aug": _Network("eres2net", "huge", _ERES2NET, translate=_translate_eres2net),
    "Res2Net34_Base": _Network("res2net", "base", _POOLED, {"two_emb_layer": False}),
    "Res2Net34_Large": _Network("res2net", "base", _POOLED, {"two_emb_layer": False}, {"m_channels": 64}),
    "SimAM_ResNet34_ASP": _Network("simam_resnet", "simam34", _SIMAM),
    "SimAM_ResNet100_ASP": _Network("simam_resnet", "simam100", _SIMAM),
    "ReDimNetB0": _redimnet("b0"),
    "ReDimNetB1": _redimnet("b1"),
    "ReDimNetB2": _redimnet("b2", strides=(1, 2, 1, 2, 1, 2)),  # the authors' own has a 3 there
    "ReDimNetB3": _redimnet("b3"),
    "ReDimNetB4": _redimnet("b4"),
    "ReDimNetB5": _redimnet("b5"),
    "ReDimNetB6": _redimnet("b6"),
    # those of ReDimNet2 are the authors' with another head, but B3, which is a wider B0
    "ReDimNet2B0": _redimnet2("b0"),
    "ReDimNet2B1": _redimnet2("b1", head_channels=64),
    "ReDimNet2B2": _redimnet2("b2", head_channels=64),
    "ReDimNet2B3": _redimnet2("b0", channels=24),
    "ReDimNet2B4": _redimnet2("b4"),
    "ReDimNet2B5": _redimnet2("b5"),
    "ReDimNet2B6": _redimnet2("b6", image_head=True),
    "XVEC": _Network("xvector", "base", _XVECTOR, settings={"two_emb_layer": True}),
}


def recognises(path: Path) -> bool:
    """Whether ``path`` is such a directory or a checkpoint in one, by what its description says."""
    return _description(path) is not None


def is_complete(path: Path) -> bool:
    """Whether the directory ``path`` has its weights too."""
    return recognises(path) and _weights(path).is_file()


def load(path: Path) -> Bundle:
    """The model in ``path``.

    Raises:
        DataError: a file is missing or damaged, the network is unknown, the weights do not fit.
        ConfigError: ``config.yaml`` is no YAML, or a setting is not valid.
    """
    description, weights = _description(path) or path / DESCRIPTION, _weights(path)
    config = config_io.read_yaml(description)
    if not weights.is_file():
        why = f"a WeSpeaker model ({DESCRIPTION}) without {WEIGHTS}, here or in {CHECKPOINTS}/"
        raise DataError(path, why, f"average its checkpoints, or give one: {CHECKPOINTS}/model_149.pt")
    network = _network(config, description)
    model = _model(network, _section(config, "model_args", description), description)
    frontend = _front_end(_section(config, "dataset_args", description), description)
    feat_dim = model.pop("feat_dim", None)
    if feat_dim not in (None, frontend["frontend"]["num_mels"]):
        raise DataError(description, f"the network takes {feat_dim} features, num_mel_bins says otherwise")
    origin = foreign.Origin(path, "wespeaker", description, weights)
    content = foreign.read_checkpoint(origin.weights)
    state = foreign.tensors(content.get("state_dict", content), origin.weights)
    state = foreign.set_aside(foreign.strip_prefix(state, "module."), "projection.", "training classifier")
    if frontend["frontend"]["name"] == "tf_mel":
        state = foreign.set_aside(state, "frontend.", "front end, which is computed")
    return foreign.to_bundle(origin, {**frontend, "model": model}, network.translate(state))


def _description(path: Path) -> Path | None:
    """The description of ``path``, or of the experiment whose ``models/`` or checkpoint it is."""
    if path.is_file():
        places = [path.parent, path.parent.parent] if path.suffix == ".pt" else []
    else:
        places = [path, path.parent] if path.name == CHECKPOINTS else [path]
    found = (place / DESCRIPTION for place in places)
    return next((file for file in found if foreign.description_keys(file).issuperset(_KEYS)), None)


def _weights(path: Path) -> Path:
    """Where the weights of ``path`` are, or are expected."""
    if path.is_file():
        return path
    return next(
        (file for file in (path / WEIGHTS, path / CHECKPOINTS / WEIGHTS) if file.is_file()), path / WEIGHTS
    )


def _network(config: Mapping[str, Any], path: Path) -> _Network:
    name = config.get("model")
    if name not in _NETWORKS:
        raise DataError(path, f"model {name!r} is not read; {nearest(str(name), list(_NETWORKS))}")
    return _NETWORKS[name]


def _model(network: _Network, given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The section ``model`` of our configuration, and ``feat_dim``."""
    arguments = dict(given)
    for key, value in network.fixed.items():
        if arguments.pop(key, value) != value:
            raise DataError(path, f"model_args.{key}: only {value!r} is read for this network")
    read = foreign.renamed(arguments, network.arguments, path)
    if "pooling" in read:
        read["pooling"] = foreign.pooling(read["pooling"], POOLINGS, path)
    variant = config_io.to_mapping(registry.get("model", network.model).VARIANTS[network.variant])
    return {"name": network.model, **variant, **network.settings, **read}


def _front_end(conf: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The sections ``frontend`` and ``cmvn`` of our configuration."""
    kind = conf.get("frontend", "fbank")
    rate = conf.get("resample_rate", 16000)
    if kind == "tfmel":
        mel = redimnet_pt.mel_settings(_section(conf, "tfmel_args", path), rate, path)
        # the mean's removal is part of this front end, whatever cmvn says
        return {"frontend": {"name": "tf_mel", **mel}, "cmvn": {"mean": True}}
    if kind != "fbank":
        raise DataError(path, f"dataset_args.frontend '{kind}' is not read; valid: fbank, tfmel")
    fbank, cmvn = _section(conf, "fbank_args", path), _section(conf, "cmvn_args", path)
    use_cmvn = conf.get("cmvn", True)
    if use_cmvn and cmvn.get("norm_var", False):
        raise DataError(path, "dataset_args.cmvn_args.norm_var is not read; only the mean is")
    front = {
        "name": "fbank",
        "window": "hamming",
        "scale": 32768.0,
        "sample_rate": rate,
        "num_mels": fbank.get("num_mel_bins", 80),
        "frame_length_ms": fbank.get("frame_length", 25),
        "frame_shift_ms": fbank.get("frame_shift", 10),
    }
    return {"frontend": front, "cmvn": {"mean": use_cmvn and cmvn.get("norm_mean", True)}}


def _section(config: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    section = config.get(key) or {}
    if not isinstance(section, Mapping):
        raise DataError(path, f"'{key}' must be a mapping")
    return section
