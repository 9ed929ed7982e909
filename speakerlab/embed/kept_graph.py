"""A published model as its kept graph, ready to run without torch.

``graph = kept_graph.opened(published.DEFAULT, running)`` -> WaveformGraph, or None where there is none.
"""

from __future__ import annotations

import importlib.util

from speakerlab.embed.session import SessionConfig
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.hub.model_cache import ModelCache
from speakerlab.hub.published import Published


def opened(entry: Published, running: SessionConfig) -> WaveformGraph | None:
    """The graph of ``entry`` in the cache of ``running``, fetched and made if it is not there.

    Returns:
        None where ONNX Runtime is not installed, or the graph is not there and cannot be made.

    Raises:
        SpeakerLabError: no source has the model.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    path = ModelCache(running.cache_dir).graph(entry)
    return None if path is None else WaveformGraph.load(path, running.num_threads)
