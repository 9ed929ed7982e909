"""One call for every model that can be read: ours, other toolkits' folders and files, published ones by name.

``load_model("campplus")`` or ``load_model("iic/speech_campplus_sv_zh-cn_16k-common")`` -> Bundle, as
``load_model("exp/first/model")``.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from types import ModuleType

from speakerlab.cache import user_cache
from speakerlab.errors import DataError
from speakerlab.hub import (
    bundle,
    funasr_dir,
    ghostvlad,
    model_ids,
    modelscope_dir,
    published,
    redimnet_pt,
    three_d_speaker,
    wespeaker_dir,
)
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.model_cache import ModelCache
from speakerlab.hub.published import Published
from speakerlab.hub.self_supervised import Frontend
from speakerlab.io import atomic

KNOWN = (
    "a bundle (bundle.json), a ModelScope model (configuration.json), a 3D-Speaker experiment (config.yaml "
    "with embedding_model), a FunASR x-vector (sv.yaml), a WeSpeaker model (config.yaml with model and "
    "model_args, avg_model.pt), "
    "a ReDimNet file (.pt) or GhostVLAD (.h5); an exported .onnx file is for commands on recordings"
)


def load_model(source: str | Path, ssl_frontend: Frontend = "mel_spectrogram") -> Bundle:
    """The model that ``source`` is or names; what exists as a file or folder is meant first.

    Args:
        source: a folder or file in one of the known formats, the short name of a published model
            (``speakerlab models --published``), or an id: ``iic/NAME`` (formerly ``damo/NAME``) of
            ModelScope, ``hf:OWNER/NAME`` of the Hugging Face hub.
        ssl_frontend: features of RDINO and SDPN models; see ``speakerlab.hub.self_supervised``.

    Raises:
        DataError: nothing there, an unknown format, a missing or damaged file, weights that do not fit.
        ConfigError: settings that are not valid.
        MissingExtraError: the format or the id needs a package that is not installed.
        SpeakerLabError: a published model that no source has.
    """
    path, name = Path(source), str(source)
    atomic.restore(path)
    if path.exists():
        return _read(path, ssl_frontend)
    if (entry := published.find(name)) is not None:
        return load_published(entry)
    if not model_ids.is_id(name):
        raise DataError(name, "no such file or folder", _instead(name))
    model_id, revision = model_ids.resolve(name)
    found = _read(model_ids.fetch(model_id, _is_complete), ssl_frontend)
    provenance = {**found.card["provenance"], "source": model_id, "revision": revision}
    return dataclasses.replace(found, card={**found.card, "provenance": provenance})


def load_published(entry: Published) -> Bundle:
    """The published model ``entry``, whatever file or folder has its name; fetched once.

    Raises:
        SpeakerLabError: no source has it.
    """
    return ModelCache(user_cache()).load(entry)


def _instead(name: str) -> str:
    """What may have been meant by ``name``, which does not exist."""
    folder = Path(name).parent
    beside = [str(path) for path in folder.iterdir()] if folder.is_dir() else []
    known = [*published.TABLE, *model_ids.REVISIONS]
    close = difflib.get_close_matches(name, [*beside, *known], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    ids = "iic/NAME of ModelScope, hf:OWNER/NAME of Hugging Face"
    return f"{hint}names that need no file: {', '.join(published.TABLE)}, {ids}"


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
    shadowed = f"the published model {path} is found where no file or folder has its name"
    raise DataError(path, f"is not {KNOWN}", shadowed if str(path) in published.TABLE else "")


def _is_complete(path: Path) -> bool:
    """Whether a download of a model id is whole."""
    if funasr_dir.recognises(path):
        return funasr_dir.is_complete(path)
    if modelscope_dir.recognises(path):
        return modelscope_dir.is_complete(path)
    return wespeaker_dir.is_complete(path) or (path / bundle.CARD).is_file()
