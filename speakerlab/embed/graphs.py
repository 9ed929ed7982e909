"""The exported graph of a bundle, from the cache: what ONNX Runtime and OpenVINO start from."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from speakerlab.embed.graph_cache import GraphCache
from speakerlab.errors import SpeakerLabError
from speakerlab.hub import onnx_export

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle


def versions(*packages: str) -> dict[str, str]:
    """The versions of installed packages; ``none`` for one that is not installed."""

    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "none"

    return {package: version(package) for package in packages}


def graph_key(bundle: Bundle) -> dict[str, str]:
    """What an exported graph depends on."""
    return {"model": bundle.content_hash, **versions("speakerlab", "torch", "onnx", "onnxscript")}


def machine_key() -> dict[str, str]:
    """What a graph optimised for this processor depends on besides the graph."""
    return {"cpu": torch.backends.cpu.get_cpu_capability()}


def exported(bundle: Bundle, cache: GraphCache) -> Path:
    """The ONNX file of ``bundle``, made once.

    Raises:
        SpeakerLabError: the network cannot be exported.
        MissingExtraError: the exporter is not installed.
    """

    def build(path: Path) -> None:
        try:
            onnx_export.export(bundle.model, int(bundle.card["feat_dim"]), path)
        except torch.onnx.errors.OnnxExporterError as error:
            raise SpeakerLabError(f"{bundle.path}: cannot be exported; use --backend torch") from error

    return cache.get("graph", "onnx", graph_key(bundle), build)
