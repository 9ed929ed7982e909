"""The graph that ONNX Runtime and OpenVINO start from: a bundle's, exported once, or a file that is given.

``graph = graphs.of(bundle, config)``; ``graph.file()`` -> path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from speakerlab import __version__
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.session import SessionConfig
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.hub import onnx_export, onnx_file
from speakerlab.io.digest import sha256

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle


@dataclass(frozen=True)
class Graph:
    """A graph of features.

    Attributes:
        key: what it depends on.
        precision: of its weights, one of ``onnx_precision.PRECISIONS``.
        file: gives its path; made only when it is called for.
    """

    key: Mapping[str, str]
    precision: str
    file: Callable[[], Path]


def of(bundle: Bundle, config: SessionConfig) -> Graph:
    """The graph that ``config`` names, else that of ``bundle``, from the cache.

    Raises:
        DataError: the named one cannot be run in place of ``bundle``.
    """
    if config.graph is not None:
        return given(bundle, config.graph)
    return Graph(graph_key(bundle), "fp32", lambda: exported(bundle, GraphCache(config.cache_dir)))


def given(bundle: Bundle, path: Path) -> Graph:
    """The graph in the file ``path``, which ``speakerlab export`` made of ``bundle``.

    Raises:
        DataError: it is damaged, of another model, or takes waveforms.
        MissingExtraError: onnx is not installed.
    """
    told = onnx_file.read(path)
    if told["content_hash"] != bundle.content_hash:
        raise DataError(path, f"is of another model than {bundle.path}", "export it from this model")
    if told["input"] != "feature":
        raise DataError(path, f"takes {told['input']}, not features", "export it with --input feature")
    return Graph({"graph": sha256(path)}, told["precision"], lambda: path)


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
    ours = {"model": bundle.content_hash, "revision": str(onnx_file.REVISION), "speakerlab": __version__}
    return {**ours, **versions("torch", "onnx", "onnxscript")}


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
