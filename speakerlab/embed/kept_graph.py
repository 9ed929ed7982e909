"""A published model as its kept graph, ready to run without torch.

``graph = kept_graph.opened(published.DEFAULT, running)`` -> WaveformGraph, or None where there is none.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from speakerlab.embed.session import SessionConfig
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import DataError
from speakerlab.hub.model_cache import GRAPH, ModelCache
from speakerlab.hub.published import Published


def opened(entry: Published, running: SessionConfig) -> WaveformGraph | None:
    """The graph of ``entry`` in the cache of ``running``, fetched and made if it is not there.

    Returns:
        None where ONNX Runtime is not installed or cannot run it, or it is not there and cannot be made.

    Raises:
        SpeakerLabError: no source has the model.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    cache = ModelCache(running.cache_dir)
    kept = cache.path(entry) / GRAPH
    if kept.is_file() and (graph := _runnable(kept, running)) is not None:
        return graph
    made = cache.graph(entry)
    return None if made is None else _runnable(made, running)


def _runnable(path: Path, running: SessionConfig) -> WaveformGraph | None:
    try:
        return WaveformGraph.load(path, running.num_threads)
    except DataError as error:  # damaged, or not for this onnxruntime
        logging.warning("%s", error)
        return None
