"""The files of ReDimNet's and ReDimNet2's authors: arguments of the network with its front end, and weights.

``load(Path("b6-vox2-lm.pt"))`` -> Bundle. The front end, which computes features and removes their mean, is a
module of theirs; here its arguments become settings. Source: the code published with arXiv 2407.18223 and
arXiv 2603.11841.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from speakerlab.errors import DataError
from speakerlab.hub import foreign
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.foreign import Settings, State

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-8  # of the front end tf_mel
BLOCKS = {"convnext_like": "convnext", "basic_resnet": "resnet", "basic_resnet_fwse": "resnet_se"}
MEL_SPECTROGRAM = {"name": "mel_spectrogram", "window": "hamming"}
TF_MEL = {"name": "tf_mel"}
FRONT_ENDS = {"pt": MEL_SPECTROGRAM, "pt_mel": MEL_SPECTROGRAM, "tf": TF_MEL, "tf_mel": TF_MEL}


class _Network(NamedTuple):
    """Arguments of a constructor of theirs.

    ``required`` are those that a file must give, as their defaults are not read or vary; ``defaults`` are
    taken where it is silent; of ``fixed`` one value is read, which is the default too.
    """

    required: frozenset[str]
    defaults: Settings
    fixed: Settings


_DEFAULTS = {"F": 72, "embed_dim": 192, "hop_length": 160, "feat_type": "pt"}
_FIXED = {"pooling_func": "ASTP", "emb_bn": False}
_REDIMNET = _Network(
    required=frozenset({"stages_setup", "block_1d_type", "block_2d_type", "global_context_att"}),
    defaults={**_DEFAULTS, "C": 16, "group_divisor": 4, "spec_params": {}},
    fixed={
        **_FIXED,
        "block_1d_type": "conv+att",
        "global_context_att": True,
        "out_channels": None,
        "tf_optimized_arch": False,
    },
)
_REDIMNET2 = _Network(
    required=frozenset({"causal"}),
    defaults={
        **_DEFAULTS,
        "C": 24,
        "out_channels": None,
        "return_2d_output": False,
        "agg_gnorm": False,
        "spec_params": {"norm_signal": True},
        "stages_setup": (
            ((1, 1), 2, 4, None, 24),
            ((2, 1), 3, 3, None, 24),
            ((1, 2), 4, 2, None, 24),
            ((2, 1), 5, 1, None, 24),
            ((1, 2), 4, 1, None, 24),
            ((2, 1), 3, 1, None, 24),
        ),
    },
    fixed={
        **_FIXED,
        "block_1d_type": "conv+att",
        "block_2d_type": "basic_resnet",
        "group_divisor": 1,
        "global_context_att": True,
        "causal": "none",
        "spec_in_channels": 1,
        "compress_tconvs": True,
        "use_freq_pos_enc": False,
        "fm_weigthing_type": "NC",  # sic
        "dual_agg": False,
        "att_dos": None,
        "pad_right_samples": None,
        "before_pool_offset": None,
    },
)
TRAINING = {"num_classes", "class_dropout", "feat_agg_dropout", "head_activation", "return_all_outputs"}


def recognises(path: Path) -> bool:
    """Whether ``path`` can be such a file."""
    return path.is_file() and path.suffix == ".pt"


def load(path: Path) -> Bundle:
    """The model in the file ``path``.

    Raises:
        DataError: the file is damaged or something else, or its network is not read.
        ConfigError: an argument of the network is not valid.
    """
    content = foreign.read_checkpoint(path)
    config, weights = content.get("model_config"), content.get("state_dict")
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        raise DataError(path, "is not a ReDimNet: it has no model_config and state_dict")
    state = foreign.set_aside(foreign.tensors(weights, path), "spec.", "front end, which is computed")
    state = foreign.set_aside(state, "cls_head.", "training classifier")
    if "causal" in config:  # all files of ReDimNet2 say it, and none of the older network
        arguments = _arguments(config, _REDIMNET2, path)
        model = _redimnet2(arguments, path)
    else:
        arguments = _arguments(config, _REDIMNET, path)
        model = _redimnet(arguments, path)
    settings = {"frontend": _front_end(arguments, path), "cmvn": {"mean": True}, "model": model}
    return foreign.to_bundle(foreign.Origin(path, "redimnet", path, path), settings, place_fusions(state))


def place_fusions(state: State) -> dict[str, Tensor]:
    """``state`` with the fusions at the start of their stages; the first code published keeps them apart."""
    moved = dict(state)
    count = sum(key.startswith("backbone.inputs_weights.") for key in state)
    if count:
        fusions = {f"backbone.inputs_weights.{i}": f"backbone.stage{i}.0.w" for i in range(count - 1)}
        fusions[f"backbone.inputs_weights.{count - 1}"] = "backbone.fin_wght1d.w"
        step = re.compile(r"^(backbone\.stage\d+\.)(\d+)")
        moved = {
            fusions.get(key) or step.sub(lambda m: f"{m[1]}{int(m[2]) + 2}", key): value
            for key, value in state.items()
        }
    return moved


def mel_settings(conf: Settings, sample_rate: int, path: Path) -> dict[str, Any]:
    """Settings of ``mel_spectrogram`` or ``tf_mel``, with their defaults where the arguments are silent.

    Raises:
        DataError: a constant that is not read.
    """
    if conf.get("eps", EPS) != EPS:
        raise DataError(path, f"the front end's eps: only {EPS} is read")
    return {
        "sample_rate": sample_rate,
        "num_mels": conf.get("n_mels", 80),
        "n_fft": conf.get("n_fft", 512),
        "frame_length_ms": 1000 * conf.get("win_length", 400) / sample_rate,
        "frame_shift_ms": 1000 * conf.get("hop_length", 160) / sample_rate,
        "normalise": conf.get("norm_signal", False),
        "preemphasis": 0.97 if conf.get("do_preemph", True) else 0.0,
        "low_hz": conf.get("f_min", 20),
        "high_hz": conf.get("f_max", 7600),
    }


def _arguments(config: Settings, network: _Network, path: Path) -> Settings:
    """The arguments that are read, with defaults.

    Raises:
        DataError: one is missing or unknown, or its value is not read.
    """
    missing = sorted(network.required - config.keys())
    known = network.required | network.defaults.keys() | network.fixed.keys() | TRAINING
    unknown = sorted(str(key) for key in config.keys() - known)
    for what, names in (("no", missing), ("unknown", unknown)):
        if names:
            raise DataError(path, f"model_config has {what} {', '.join(names)}")
    for key, value in network.fixed.items():
        if config.get(key, value) != value:
            raise DataError(path, f"model_config.{key}: only {value!r} is read, not {config[key]!r}")
    return {**network.defaults, **config}


def _redimnet(arguments: Settings, path: Path) -> dict[str, Any]:
    block = arguments["block_2d_type"]
    if block not in BLOCKS:
        raise DataError(path, f"model_config.block_2d_type {block!r} is not read; valid: {', '.join(BLOCKS)}")
    return {
        "name": "redimnet",
        "embed_dim": arguments["embed_dim"],
        "channels": arguments["C"],
        "block": BLOCKS[block],
        "group_width": arguments["group_divisor"],
        **_stages(arguments, path),
    }


def _redimnet2(arguments: Settings, path: Path) -> dict[str, Any]:
    stages = _stages(arguments, path)
    try:
        strides, time_strides = zip(*stages["strides"], strict=True)
    except (TypeError, ValueError) as error:
        raise DataError(path, "model_config.stages_setup: strides must be pairs") from error
    return {
        "name": "redimnet2",
        "embed_dim": arguments["embed_dim"],
        "channels": arguments["C"],
        "head_channels": arguments["out_channels"] or 0,
        "image_head": arguments["return_2d_output"],
        "map_norm": arguments["agg_gnorm"],
        **stages,
        "strides": list(strides),
        "time_strides": list(time_strides),
    }


def _stages(arguments: Settings, path: Path) -> dict[str, list[Any]]:
    """The columns of ``stages_setup``; their blocks read no kernel sizes."""
    try:
        strides, num_blocks, expansions, _, reductions = zip(*arguments["stages_setup"], strict=True)
    except (TypeError, ValueError) as error:
        raise DataError(path, "model_config.stages_setup must be rows of five") from error
    return {
        "strides": list(strides),
        "num_blocks": list(num_blocks),
        "expansions": list(expansions),
        "reductions": [0 if reduction is None else reduction for reduction in reductions],
    }


def _front_end(arguments: Settings, path: Path) -> dict[str, Any]:
    conf, kind = arguments["spec_params"], arguments["feat_type"]
    if kind not in FRONT_ENDS:
        raise DataError(path, f"model_config.feat_type {kind!r} is not read; valid: {', '.join(FRONT_ENDS)}")
    if not isinstance(conf, Mapping):
        raise DataError(path, "model_config.spec_params must be a mapping")
    if conf.get("spec_norm", "mn") != "mn":
        raise DataError(
            path, f"spec_norm {conf['spec_norm']!r} is not read; only 'mn', the mean's removal, is"
        )
    sizes = {"n_mels": arguments["F"], "hop_length": arguments["hop_length"]}
    return {**FRONT_ENDS[kind], **mel_settings({**conf, **sizes}, conf.get("sample_rate", 16000), path)}
