"""Model ids: fetched once through the hub's own client, then found in its cache, offline too.

``fetch("iic/speech_campplus_sv_zh-cn_16k-common", is_complete)`` -> folder. Owner ``iic`` (formerly ``damo``)
is ModelScope's, every other owner the Hugging Face hub's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speakerlab import distribution
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.registry import nearest

EXTRA = "hub"
# Verification models of ModelScope's speech lab and their tested revisions; None is the newest.
REVISIONS: dict[str, str | None] = {
    f"iic/speech_{name}": revision
    for name, revision in {
        "campplus_sv_zh-cn_16k-common": "v1.0.0",
        "campplus_sv_zh_en_16k-common_advanced": "v1.0.0",
        "campplus_sv_en_voxceleb_16k": "v1.0.2",
        "campplus_sv_zh-cn_3dspeaker_16k": None,
        "campplus_sv_cn_cnceleb_16k": None,
        "eres2net_sv_zh-cn_16k-common": "v1.0.5",
        "eres2net_base_200k_sv_zh-cn_16k-common": "v1.0.0",
        "eres2net_sv_en_voxceleb_16k": "v1.0.2",
        "eres2net_large_sv_en_voxceleb_16k": None,
        "eres2net_base_sv_zh-cn_3dspeaker_16k": "v1.0.1",
        "eres2net_large_sv_zh-cn_3dspeaker_16k": "v1.0.0",
        "eres2net_base_sv_zh-cn_cnceleb_16k": None,
        "eres2net_large_sv_zh-cn_cnceleb_16k": None,
        "eres2netv2_sv_zh-cn_16k-common": "v1.0.1",
        "eres2netv2w24s4ep4_sv_zh-cn_16k-common": "v1.0.1",
        "ecapa-tdnn_sv_zh-cn_cnceleb_16k": "v1.0.0",
        "ecapa-tdnn_sv_zh-cn_3dspeaker_16k": "v1.0.0",
        "ecapa-tdnn_sv_en_voxceleb_16k": "v1.0.1",
        "rdino_ecapa_tdnn_sv_en_voxceleb_16k": "v1.0.2",
        "rdino_ecapa_tdnn_sv_zh-cn_3dspeaker_16k": "v1.0.1",
        "rdino_ecapa_tdnn_sv_zh-cn_cnceleb_16k": None,
        "sdpn_ecapa_tdnn_sv_en_voxceleb_16k": "v1.0.0",
        "resnet34_sv_zh-cn_3dspeaker_16k": None,
        "resnet_sv_en_voxceleb_16k": None,
        "res2net_sv_zh-cn_3dspeaker_16k": None,
        "res2net_sv_en_voxceleb_16k": None,
        "tdnn_sv_en_voxceleb_16k": None,
        "xvector_sv-zh-cn-cnceleb-16k-spk3465-pytorch": None,
    }.items()
}


def is_id(source: str) -> bool:
    """Whether ``source`` has the form ``owner/name``."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.+-]*", source, re.ASCII) is not None


def resolve(model_id: str) -> tuple[str, str | None]:
    """The id under its owner's present name, and the revision to take."""
    owner, name = model_id.split("/")
    if owner == "damo":
        model_id = f"iic/{name}"
    return model_id, REVISIONS.get(model_id)


def fetch(model_id: str, is_complete: Callable[[Path], bool]) -> Path:
    """The folder of ``model_id`` in its client's cache, downloaded if it is not there whole.

    Raises:
        MissingExtraError: the client is not installed.
        DataError: there is no such model, or it cannot be reached.
    """
    model_id, revision = resolve(model_id)
    download, package = _client(model_id)
    try:
        cached = Path(download(model_id, revision=revision, local_files_only=True))
        if is_complete(cached):
            return cached
    except Exception as error:  # noqa: BLE001  # clients agree on no type for "not in the cache"
        logging.info("%s is not in the cache of %s (%s)", model_id, package, _one_line(error))
    logging.info("downloading %s through %s", model_id, package)
    try:
        return Path(download(model_id, revision=revision))
    except Exception as error:  # nor on one for "no such model" or "no network"
        why = f"is no file or folder here, and cannot be downloaded ({_one_line(error)})"
        unknown = package == "modelscope" and model_id not in REVISIONS
        raise DataError(model_id, why, nearest(model_id, list(REVISIONS)) if unknown else "") from error


def _client(model_id: str) -> tuple[Callable[..., Any], str]:
    """``snapshot_download`` of the client that serves ``model_id``, and its package."""
    if model_id.startswith("iic/"):
        try:
            from modelscope.hub.snapshot_download import snapshot_download as of_modelscope
        except ImportError as error:
            raise MissingExtraError("modelscope", EXTRA) from error
        return of_modelscope, "modelscope"
    try:
        from huggingface_hub import snapshot_download as of_hugging_face
    except ImportError as error:
        why = "is no file or folder here; for a model id of the Hugging Face hub"
        raise DataError(model_id, why, distribution.how_to_install(EXTRA)) from error
    return of_hugging_face, "huggingface_hub"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
