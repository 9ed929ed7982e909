"""One call for every model that can be read: ours, other toolkits' folders and files, ids of model hubs.

``load_model("iic/speech_campplus_sv_zh-cn_16k-common")`` -> Bundle, as ``load_model("exp/first/model")``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

from speakerlab.errors import DataError
from speakerlab.hub import (
    bundle,
    funasr_dir,
    ghostvlad,
    model_ids,
    modelscope_dir,
    redimnet_pt,
    three_d_speaker,
    wespeaker_dir,
)
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.self_supervised import Frontend

KNOWN = (
    "a bundle (bundle.json), a ModelScope model (configuration.json), a 3D-Speaker experiment (config.yaml "
    "and models/), a FunASR x-vector (sv.yaml), a WeSpeaker model (config.yaml and avg_model.pt), "
    "a ReDimNet file (.pt) or GhostVLAD (.h5); an exported .onnx file is for commands on recordings"
)


def load_model(source: str | Path, ssl_frontend: Frontend = "mel_spectrogram") -> Bundle:
    """The model that ``source`` is or names.

    Args:
        source: a folder or file in one of the known formats, or an id ``owner/name`` of ModelScope (owner
            ``iic``, formerly ``damo``) or of the Hugging Face hub.
        ssl_frontend: features of RDINO and SDPN models; see ``speakerlab.hub.self_supervised``.

    Raises:
        DataError: nothing there, an unknown format, a missing or damaged file, weights that do not fit.
        ConfigError: settings that are not valid.
        MissingExtraError: the format or the id needs a package that is not installed.
    """
    path = Path(source)
    if path.exists():
        return _read(path, ssl_frontend)
    if not model_ids.is_id(str(source)):
        raise DataError(source, "no such file or folder, and no model id (owner/name)")
    model_id, revision = model_ids.resolve(str(source))
    found = _read(model_ids.fetch(model_id, _is_complete), ssl_frontend)
    provenance = {**found.card["provenance"], "source": model_id, "revision": revision}
    return dataclasses.replace(found, card={**found.card, "provenance": provenance})


def _read(path: Path, ssl_frontend: Frontend) -> Bundle:
    if (path / bundle.CARD).is_file():
        return bundle.load(path)
    readers: tuple[tuple[ModuleType, tuple[Frontend, ...]], ...] = (
        (funasr_dir, ()),  # before ModelScope's: it has a configuration.json too
        (modelscope_dir, (ssl_frontend,)),
        (wespeaker_dir, ()),
        (three_d_speaker, (ssl_frontend,)),
        (redimnet_pt, ()),
        (ghostvlad, ()),
    )
    for reader, options in readers:
        if reader.recognises(path):
            found: Bundle = reader.load(path, *options)
            return found
    raise DataError(path, f"is not {KNOWN}")


def _is_complete(path: Path) -> bool:
    """Whether a download of a model id is whole."""
    if funasr_dir.recognises(path):
        return funasr_dir.is_complete(path)
    if modelscope_dir.recognises(path):
        return modelscope_dir.is_complete(path)
    return wespeaker_dir.recognises(path) or (path / bundle.CARD).is_file()
