"""FunASR's x-vector directory: ``sv.yaml`` describes network and front end, ``sv.pb`` has the weights.

``load(Path("speech_xvector_sv-zh-cn-cnceleb-16k-spk3465-pytorch"))`` -> Bundle. ``sv.pb`` is a file of
``torch.save``, of which only the weights are read. Features are Kaldi's, without normalisation; its random
dither is left out, so that an utterance has one embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speakerlab import config as config_io
from speakerlab.errors import DataError
from speakerlab.hub import foreign
from speakerlab.hub.bundle import Bundle

DESCRIPTION, WEIGHTS = "sv.yaml", "sv.pb"
# What the one published architecture says of itself, and this reader takes for granted.
_EXPECTED = {
    ("encoder",): "resnet34",
    ("pooling_type",): "statistic",
    ("decoder",): "dense",
    ("frontend",): "wav_frontend",
    ("normalize",): None,
    ("encoder_conf", "use_head_conv"): True,
    ("encoder_conf", "use_head_maxpool"): False,
    ("frontend_conf", "lfr_m"): 1,
    ("frontend_conf", "lfr_n"): 1,
    ("frontend_conf", "cmvn_file"): None,
}
_DEFAULTS: Mapping[tuple[str, ...], Any] = {
    ("encoder_conf", "use_head_conv"): True,
    ("encoder_conf", "use_head_maxpool"): False,
    ("frontend_conf", "lfr_m"): 1,
    ("frontend_conf", "lfr_n"): 1,
}
THRESHOLD = 0.9465  # of this model alone; the default of FunASR's speaker-verification pipeline
_BEHIND_THE_EMBEDDING = ("decoder.resnet1_bn.", "decoder.resnet2_", "decoder.output_dense.")


def recognises(path: Path) -> bool:
    """Whether ``path`` is such a directory."""
    return (path / DESCRIPTION).is_file()


def is_complete(path: Path) -> bool:
    """Whether the weights are there too."""
    return (path / WEIGHTS).is_file()


def load(path: Path) -> Bundle:
    """The model in ``path``; its embedding is the output of ``resnet1_dense``.

    Raises:
        DataError: a file is missing or damaged, the architecture is another, the weights do not fit.
        ConfigError: ``sv.yaml`` is no YAML, or a setting is not valid.
    """
    description = path / DESCRIPTION
    config = config_io.read_yaml(description)
    for keys, expected in _EXPECTED.items():
        value = _entry(config, keys, description)
        if value != expected:
            raise DataError(description, f"{'.'.join(keys)} is {value!r}; only {expected!r} is read")
    origin = foreign.Origin(path, "funasr", description, path / WEIGHTS)
    state = foreign.tensors(foreign.read_checkpoint(origin.weights), origin.weights)
    for prefix in _BEHIND_THE_EMBEDDING:
        state = foreign.set_aside(state, prefix, "layers behind the embedding")
    settings = {
        "frontend": _front_end(config.get("frontend_conf") or {}),
        "cmvn": {"mean": False},
        "model": _model(config.get("encoder_conf") or {}, config.get("decoder_conf") or {}),
    }
    return foreign.to_bundle(origin, settings, state, THRESHOLD)


def _front_end(conf: Mapping[str, Any]) -> dict[str, Any]:
    """FunASR's ``WavFrontend``, with its defaults where ``conf`` is silent."""
    return {
        "name": "fbank",
        "sample_rate": conf.get("fs", 16000),
        "num_mels": conf.get("n_mels", 80),
        "window": conf.get("window", "hamming"),
        "frame_length_ms": conf.get("frame_length", 25),
        "frame_shift_ms": conf.get("frame_shift", 10),
        "snip_edges": conf.get("snip_edges", True),
        "scale": 32768.0 if conf.get("upsacle_samples", True) else 1.0,  # the key is spelt so
    }


def _model(encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
    theirs = {
        "num_blocks": encoder.get("layers_in_block"),
        "channels": encoder.get("filters_in_block"),
        "pooled_dim": encoder.get("num_nodes_pooling_layer"),
        "embed_dim": decoder.get("num_nodes_resnet1"),
    }
    given = {name: value for name, value in theirs.items() if value is not None}
    return {"name": "funasr_xvector", **given}


def _entry(config: Mapping[str, Any], keys: tuple[str, ...], path: Path) -> Any:
    """The value at ``keys``, or what FunASR takes where there is none."""
    value: Any = config
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping):
            raise DataError(path, f"'{'.'.join(keys[:depth])}' must be a mapping")
        value = value.get(key, _DEFAULTS.get(keys) if depth == len(keys) - 1 else {})
    return value
