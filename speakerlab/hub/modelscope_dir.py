"""A ModelScope model directory: ``configuration.json`` names the class, its settings and the checkpoint.

``load(Path("speech_campplus_sv_zh-cn_16k-common"))`` -> Bundle, with the publisher's threshold in its card.
Features are Kaldi's, of samples in [-1, 1], minus their mean. RDINO and SDPN: see ``self_supervised``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from speakerlab.errors import DataError
from speakerlab.hub import foreign, self_supervised
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.self_supervised import Frontend
from speakerlab.registry import nearest

DESCRIPTION = "configuration.json"
NUM_MELS = 80  # of every class; CAM++ alone also says so


class _Class(NamedTuple):
    """A class of the package: our model with fixed settings, and which ``model_config`` entry is which."""

    model: str
    fixed: Mapping[str, Any]
    read: Mapping[str, str]


_CLASSES = {
    "cam++-sv": _Class("campplus", {}, {"emb_size": "embed_dim"}),
    "eres2net-sv": _Class("eres2net", {}, {"embed_dim": "embed_dim", "channels": "m_channels"}),
    "eres2net-aug-sv": _Class(
        "eres2net", {"m_channels": 64, "base_width": 24, "scale": 3, "expansion": 4}, {}
    ),
    "eres2netv2-sv": _Class(
        "eres2netv2",
        {},
        {"embed_dim": "embed_dim", "baseWidth": "base_width", "scale": "scale", "expansion": "expansion"},
    ),
    "ecapa-tdnn-sv": _Class("ecapa_tdnn", {"channels": self_supervised.CHANNELS}, {}),
    "res2net-sv": _Class("res2net", {}, {"embed_dim": "embed_dim", "channels": "m_channels"}),
    "resnet-sv": _Class(
        "resnet", {"two_emb_layer": True}, {"embed_dim": "embed_dim", "channels": "m_channels"}
    ),
    "tdnn-sv": _Class("xvector", {}, {}),
}
_TEACHERS = ("rdino_ecapa-tdnn-sv", "sdpn_ecapa-sv")


def recognises(path: Path) -> bool:
    """Whether ``path`` is such a directory."""
    return (path / DESCRIPTION).is_file()


def is_complete(path: Path) -> bool:
    """Whether the checkpoint that ``configuration.json`` names is there too."""
    section = foreign.read_json(path / DESCRIPTION).get("model")
    name = section.get("pretrained_model") if isinstance(section, dict) else None
    return isinstance(name, str) and foreign.is_inside(name) and (path / name).is_file()


def load(path: Path, ssl_frontend: Frontend = "mel_spectrogram") -> Bundle:
    """The model in ``path``.

    Args:
        path: the directory.
        ssl_frontend: features of RDINO and SDPN.

    Raises:
        DataError: a file is missing or damaged, the type is unknown, the weights do not fit.
        ConfigError: a setting is not valid.
    """
    description = path / DESCRIPTION
    section = _entry(foreign.read_json(description), "model", dict, description)
    kind = _entry(section, "type", str, description)
    if kind not in _CLASSES and kind not in _TEACHERS:
        valid = [*_CLASSES, *_TEACHERS]
        raise DataError(description, f"model.type '{kind}' is not read; {nearest(kind, valid)}")
    settings = _entry(section, "model_config", dict, description)
    weights = foreign.member(path, _entry(section, "pretrained_model", str, description), description)
    origin = foreign.Origin(path, "modelscope", description, weights)
    threshold = _threshold(section, description)
    content = foreign.read_checkpoint(weights)
    rate = settings.get("sample_rate", 16000)
    if kind in _TEACHERS:
        return self_supervised.load(origin, content, rate, ssl_frontend, threshold)
    frontend = {**foreign.UNIT_FBANK, "num_mels": settings.get("fbank_dim", NUM_MELS), "sample_rate": rate}
    model = _model(_CLASSES[kind], settings, description)
    state = foreign.tensors(content, weights)
    return foreign.to_bundle(origin, {"frontend": frontend, "model": model}, state, threshold)


def _model(cls: _Class, settings: Mapping[str, Any], description: Path) -> dict[str, Any]:
    """The section ``model`` of our configuration."""
    missing = [key for key in cls.read if key not in settings]
    if missing:
        raise DataError(description, f"model.model_config has no {', '.join(missing)}")
    read = {ours: settings[theirs] for theirs, ours in cls.read.items()}
    return {"name": cls.model, **cls.fixed, **read}


def _threshold(section: Mapping[str, Any], description: Path) -> float | None:
    value = section.get("yesOrno_thr")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1 <= value <= 1:
        raise DataError(description, f"model.yesOrno_thr must be a cosine, not {value!r}")
    return float(value)


def _entry(section: Mapping[str, Any], key: str, kind: type, description: Path) -> Any:
    value = section.get(key)
    if not isinstance(value, kind):
        raise DataError(description, f"'{key}' must be a {kind.__name__}, not {value!r}")
    return value
