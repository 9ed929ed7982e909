"""A model as one file that takes waveforms: exported, compared with the network, sealed with its metadata.

``write(load_model("exp/model"), Path("model.onnx"))`` -> its metadata. ``embed.waveform_graph`` runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from speakerlab.errors import SpeakerLabError
from speakerlab.hub import onnx_check, onnx_export, onnx_file, onnx_metadata
from speakerlab.hub.onnx_waveform import WaveformEmbedder

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle


def write(loaded: Bundle, path: Path) -> dict[str, str]:
    """The graph from waveform to embedding at ``path``; its metadata, and its error against the network.

    Raises:
        SpeakerLabError: the network cannot be exported, or the graph does not compute what it does.
        MissingExtraError: a package is not installed.
    """
    embedder = WaveformEmbedder(loaded.config, loaded.model).eval()
    try:
        onnx_export.export_waveform(embedder, path)
    except torch.onnx.errors.OnnxExporterError as error:
        raise SpeakerLabError(f"{loaded.path}: this version of torch cannot export it") from error
    worst = onnx_check.check(path, embedder, onnx_check.waveform_inputs(embedder))
    found = {
        **onnx_metadata.describe(loaded),
        "precision": "fp32",
        "min_samples": str(embedder.min_samples(1)),
    }
    onnx_file.write(path, found)
    return {**found, "relative_error": f"{worst:.1e}"}
