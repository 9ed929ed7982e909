"""ONNX Runtime on the CPU, from a graph optimised once for this processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.embed import graphs
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.session import SessionConfig, by_length
from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle


class OnnxSession:
    """Runs the exported graph of ``bundle``, or the one given.

    Raises:
        MissingExtraError: onnxruntime or the exporter is not installed.
        SpeakerLabError: reduced precision was asked for, or the graph given cannot be run.
    """

    def __init__(self, bundle: Bundle, config: SessionConfig) -> None:
        if config.precision != "fp32":
            raise SpeakerLabError(f"back-end onnx has no {config.precision}; use --backend openvino")
        graph = graphs.of(bundle, config)
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnx") from error

        def optimise(path: Path) -> None:
            settings = _settings(onnxruntime, config.num_threads)
            settings.optimized_model_filepath = str(path)
            _open(onnxruntime, graph.file(), settings)

        key = {**graph.key, **graphs.machine_key(), **graphs.versions("onnxruntime")}
        optimised = GraphCache(config.cache_dir).get("optimised", "onnx", key, optimise)
        settings = _settings(onnxruntime, config.num_threads)
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = _open(onnxruntime, optimised, settings)
        # It takes its ranges from all that a call holds: an embedding would depend on its neighbours.
        self._alone = graph.precision == "int8-dynamic"

    def embed(self, batch: Sequence[Float32Array]) -> Float32Array:
        """Embeddings [B, E] of features, each [T, F]."""
        if self._alone:
            return np.concatenate([self._run(feats[None]) for feats in batch])
        return by_length(batch, self._run)

    def _run(self, feats: Float32Array) -> Float32Array:
        result: Float32Array = self._session.run(["embedding"], {"feature": feats})[0]
        return result


def _open(onnxruntime: Any, path: Path, settings: Any) -> Any:
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def _settings(onnxruntime: Any, num_threads: int) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = num_threads, 1
    settings.log_severity_level = 3  # a graph saved for one processor is what is wanted, not a warning
    # Plans and arenas are kept for each length that occurs: memory would grow with the list.
    settings.enable_cpu_mem_arena = settings.enable_mem_pattern = False
    return settings
