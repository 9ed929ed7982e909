"""The session of a bundle: by the name of the back-end, or the fastest by a short measurement.

``open_session(bundle, torch.device("cpu"), SessionConfig(cache_dir, backend="auto"))``.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from speakerlab import distribution
from speakerlab.embed import graphs
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.onnx_session import OnnxSession
from speakerlab.embed.openvino_session import OpenVinoSession
from speakerlab.embed.session import BACKENDS, Session, SessionConfig
from speakerlab.embed.torch_session import TorchSession
from speakerlab.errors import SpeakerLabError
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle

NUM_FRAMES, NUM_SAMPLES = 400, 64000  # of the 4 s that are measured
NUM_RUNS = 5  # the least of them counts
MIN_COSINE = {"fp32": 0.9999, "bf16": 0.99}  # to torch's embedding in fp32
MIN_COSINE_OF_GRAPH = 0.9  # of a graph that is given: what it loses on speech was measured when it was made


def open_session(bundle: Bundle, device: torch.device, config: SessionConfig) -> Session:
    """The session that ``config`` asks for.

    Raises:
        SpeakerLabError: the back-end has not that precision or device, or cannot run the network.
        MissingExtraError: its package is not installed.
    """
    backend = config.backend
    if backend == "auto":
        on_gpu = device.type == "cuda" and config.graph is None
        backend = "torch" if on_gpu else fastest(bundle, config)
    return _open(backend, bundle, device, config)


def fastest(bundle: Bundle, config: SessionConfig) -> str:
    """The name of the back-end that runs ``bundle`` fastest on this machine's CPU; measured once and kept.

    One whose embedding is not torch's is left out.

    Raises:
        SpeakerLabError: no back-end can run it in that precision.
    """

    def build(path: Path) -> None:
        path.write_text(json.dumps(_measured(bundle, config), indent=1) + "\n", encoding="utf-8")

    key = {
        **graphs.of(bundle, config).key,
        **graphs.machine_key(),
        **graphs.versions("onnxruntime", "openvino"),
    }
    key.update(precision=config.precision, threads=str(config.num_threads), agrees=str(MIN_COSINE))
    path = GraphCache(config.cache_dir).get("choice", "json", key, build)
    times: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    choice = min(times, key=times.__getitem__)
    shown = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in times.items())
    logging.info("back-end %s is the fastest for 4 s of speech in %s: %s", choice, config.precision, shown)
    return choice


def _open(backend: str, bundle: Bundle, device: torch.device, config: SessionConfig) -> Session:
    if backend == "torch":
        return TorchSession(bundle.model, device, config.precision)
    if backend not in BACKENDS:
        raise SpeakerLabError(f"back-end {backend} is none of {', '.join(BACKENDS)}, auto")
    if device.type != "cpu":
        raise SpeakerLabError(f"back-end {backend} runs on the CPU only; use --backend torch")
    return OnnxSession.of_bundle(bundle, config) if backend == "onnx" else OpenVinoSession(bundle, config)


def _measured(bundle: Bundle, config: SessionConfig) -> dict[str, float]:
    """Seconds of a network call by back-end, of those that can run ``bundle``; calls take turns."""
    feat_dim = int(bundle.card["feat_dim"])
    size = (NUM_SAMPLES if feat_dim == 1 else NUM_FRAMES, feat_dim)
    feats = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    expected = TorchSession(bundle.model, torch.device("cpu")).embed([feats])[0]
    least = MIN_COSINE_OF_GRAPH if config.graph else MIN_COSINE[config.precision]
    sessions: dict[str, Session] = {}
    for backend in BACKENDS[1:] if config.graph else BACKENDS:  # torch runs no graph
        try:
            session = _open(backend, bundle, torch.device("cpu"), config)
            _require_agreement(session.embed([feats])[0], expected, least)
        except SpeakerLabError as error:
            logging.info("back-end %s is left out: %s", backend, error)
        else:
            sessions[backend] = session
    if not sessions:
        raise SpeakerLabError(
            f"no back-end here runs {config.precision}; "
            f"use --precision fp32, or run: {distribution.how_to_install('onnx', 'openvino')}"
        )
    times = dict.fromkeys(sessions, float("inf"))
    for run in range(1, NUM_RUNS + 1):  # they are warm
        # Each a little shorter: most lengths of a list are new, and back-ends prepare for that.
        shorter = feats[: len(feats) - run * len(feats) // NUM_FRAMES]
        for backend, session in sessions.items():
            start = time.perf_counter()
            session.embed([shorter])
            times[backend] = min(times[backend], time.perf_counter() - start)
    return times


def _require_agreement(found: Float32Array, expected: Float32Array, least: float) -> None:
    cosine = float(found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected)))
    if not cosine >= least:  # NaN too
        raise SpeakerLabError(
            f"the cosine of its embedding to that of torch in fp32 is {cosine:.5f}, {least:g} is the least"
        )
