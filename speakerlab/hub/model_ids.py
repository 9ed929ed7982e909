"""Model ids: fetched once through the hub's own client, then found in its cache, offline too.

``fetch("iic/speech_campplus_sv_zh-cn_16k-common", is_complete)`` -> folder. ``iic/NAME`` (formerly
``damo/NAME``) is ModelScope's, ``hf:OWNER/NAME`` the Hugging Face hub's; nothing else is an id, so that a
mistyped path is not looked for at a hub.
"""

from __future__ import annotations

import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speakerlab import logs
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.registry import nearest

EXTRA = "hub"
MODELSCOPE, HUGGING_FACE = "modelscope", "huggingface_hub"  # packages of the clients
MODELSCOPE_URL = "https://www.modelscope.cn"
PATIENCE_S = 5.0
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
    """Whether ``source`` has the form ``iic/NAME``, ``damo/NAME`` or ``hf:OWNER/NAME``."""
    return re.fullmatch(r"(iic|damo|hf:[\w-][\w.-]*)/[\w-][\w.+-]*", source, re.ASCII) is not None


def resolve(model_id: str) -> tuple[str, str | None]:
    """The id under its owner's present name, and the revision to take."""
    owner, name = model_id.split("/")
    if owner == "damo":
        model_id = f"iic/{name}"
    return model_id, REVISIONS.get(model_id)


def package_of(model_id: str) -> str:
    """The client that serves ``model_id``."""
    return HUGGING_FACE if model_id.startswith("hf:") else MODELSCOPE


def fetch(model_id: str, is_complete: Callable[[Path], bool], size: str = "size not known before") -> Path:
    """The folder of ``model_id`` in its client's cache, downloaded if it is not there whole.

    Args:
        model_id: an id, see ``is_id``.
        is_complete: whether a folder holds all of the model.
        size: what the line before a download says of it.

    Raises:
        MissingExtraError: the client is not installed.
        DataError: there is no such model, or it cannot be reached.
    """
    model_id, revision = resolve(model_id)
    download, package = _client(model_id), package_of(model_id)
    name = model_id.removeprefix("hf:")
    try:
        cached = Path(download(name, revision=revision, local_files_only=True))
        if is_complete(cached):
            return cached
    except Exception as error:  # noqa: BLE001  # clients agree on no type for "not in the cache"
        logging.debug("%s is not in the cache of %s (%s)", model_id, package, _one_line(error))
    if package == MODELSCOPE and not _answers(MODELSCOPE_URL):  # its client tries for 20 s and more
        raise _unavailable(model_id, f"{MODELSCOPE_URL} does not answer")
    logs.notice(f"downloading {model_id} through {package}: {size}")
    try:
        return Path(download(name, revision=revision))
    except Exception as error:  # nor on one for "no such model" or "no network"
        raise _unavailable(model_id, _one_line(error)) from error


def _unavailable(model_id: str, why: str) -> DataError:
    unknown = package_of(model_id) == MODELSCOPE and model_id not in REVISIONS
    fix = nearest(model_id, list(REVISIONS)) if unknown else ""
    return DataError(model_id, f"cannot be downloaded ({why})", fix)


def _answers(url: str) -> bool:
    """Whether a server is there, whatever it answers; through the user's proxy, where there is one."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE_S).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _client(model_id: str) -> Callable[..., Any]:
    """``snapshot_download`` of the client that serves ``model_id``."""
    package = package_of(model_id)
    try:
        if package == MODELSCOPE:
            from modelscope.hub.snapshot_download import snapshot_download as of_modelscope

            return of_modelscope  # type: ignore[no-any-return]
        from huggingface_hub import snapshot_download as of_hugging_face
    except ImportError as error:
        raise MissingExtraError(package, EXTRA) from error
    return of_hugging_face


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
