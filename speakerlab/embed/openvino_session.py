"""OpenVINO on the CPU, fp32 or bf16, from a model compiled once for this processor."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speakerlab.embed import graphs
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.session import SessionConfig, by_length
from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16"}


class OpenVinoSession:
    """Runs the exported graph of ``bundle``, or the one given.

    Raises:
        MissingExtraError: openvino or the exporter is not installed.
        SpeakerLabError: the processor has not the precision asked for, or the graph given is of int8.
    """

    def __init__(self, bundle: Bundle, config: SessionConfig) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino") from error
        graph = graphs.of(bundle, config)
        if graph.precision.startswith("int8"):  # the first call of an ECAPA-TDNN took 22 GB of memory
            raise SpeakerLabError(f"back-end openvino runs no {graph.precision} graph; use --backend onnx")
        core = openvino.Core()
        if _CAPABILITIES[config.precision] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise SpeakerLabError(f"this processor has no {config.precision}; use --precision fp32")
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[config.precision],
            "INFERENCE_NUM_THREADS": config.num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # workers would all pin themselves to the same first cores
            "CPU_RUNTIME_CACHE_CAPACITY": 0,  # kernels of each length that occurs: memory grows with the list
        }

        def compile_model(path: Path) -> None:
            compiled = core.compile_model(str(graph.file()), "CPU", settings)
            path.write_bytes(compiled.export_model().getvalue())

        key = {**graph.key, **graphs.machine_key(), **graphs.versions("openvino")}
        key.update(precision=config.precision, threads=str(config.num_threads))
        blob = GraphCache(config.cache_dir).get("compiled", "blob", key, compile_model)
        compiled = core.import_model(io.BytesIO(blob.read_bytes()), "CPU", settings)
        self._request = compiled.create_infer_request()

    def embed(self, batch: Sequence[Float32Array]) -> Float32Array:
        """Embeddings [B, E] of features, each [T, F]."""
        return by_length(batch, self._run)

    def _run(self, feats: Float32Array) -> Float32Array:
        return np.array(self._request.infer({0: feats})[0], dtype=np.float32)  # its buffer is used again
