"""ONNX Runtime on the CPU; a bundle's graph is optimised once for this processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.embed.session import SessionConfig, by_length
from speakerlab.errors import SpeakerLabError
from speakerlab.hub import onnx_file
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle


class OnnxSession:
    """Runs ``session`` of ONNX Runtime; ``alone``: one utterance at a time, whatever the batch."""

    def __init__(self, session: Any, *, alone: bool = False) -> None:
        self._session, self._alone = session, alone
        self._input = session.get_inputs()[0].name

    @classmethod
    def of_bundle(cls, bundle: Bundle, config: SessionConfig) -> OnnxSession:
        """The session of the exported graph of ``bundle``, or of the one given.

        Raises:
            MissingExtraError: onnxruntime or the exporter is not installed.
            SpeakerLabError: reduced precision was asked for, or the graph given cannot be run.
        """
        from speakerlab.embed import graphs  # and torch with it, which an exported file does without
        from speakerlab.embed.graph_cache import GraphCache

        if config.precision != "fp32":
            raise SpeakerLabError(f"back-end onnx has no {config.precision}; use --backend openvino")
        graph = graphs.of(bundle, config)
        onnxruntime = onnx_file.runtime()

        def optimise(path: Path) -> None:
            settings = onnx_file.session_settings(config.num_threads)
            settings.optimized_model_filepath = str(path)
            onnx_file.open_session(graph.file(), settings)

        key = {**graph.key, **graphs.machine_key(), **graphs.versions("onnxruntime")}
        optimised = GraphCache(config.cache_dir).get("optimised", "onnx", key, optimise)
        settings = onnx_file.session_settings(config.num_threads)
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # This precision takes its ranges from all that a call holds: an embedding would depend on others.
        return cls(onnx_file.open_session(optimised, settings), alone=graph.precision == "int8-dynamic")

    def embed(self, batch: Sequence[Float32Array]) -> Float32Array:
        """Embeddings [B, E] of inputs, frames or samples first."""
        if self._alone:
            return np.concatenate([self._run(one[None]) for one in batch])
        return by_length(batch, self._run)

    def _run(self, inputs: Float32Array) -> Float32Array:
        result: Float32Array = self._session.run(["embedding"], {self._input: inputs})[0]
        return result
