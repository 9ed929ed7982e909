"""A network as an ONNX graph: input ``feature`` [batch, frames, F], output ``embedding`` [batch, E].

``export(model, feat_dim=80, path=Path("model.onnx"))``. Both axes are dynamic; the graph takes whole
utterances of one length, without padding. It comes from ``torch.export``, not from TorchScript.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, cast

import torch

from speakerlab.errors import MissingExtraError

OPSET = 18
EXAMPLE = (2, 345)  # utterances, frames: any size above min_frames gives the same graph


def export(model: torch.nn.Module, feat_dim: int, path: Path) -> None:
    """Write ``model`` (any registered network) to ``path``.

    The exporter's own optimiser stays off: it changes the epsilon of batch normalisation (relative error
    6e-5 in a TDNN of five layers), and runtimes optimise when they load.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnxscript", "onnx") from error
    # An axis of one frame would be taken for a constant, and strides may leave one; what the graph accepts
    # does not depend on this number.
    shortest = max(64, int(cast("int", model.min_frames)))
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("frames", min=shortest)}
    example = torch.randn(EXAMPLE[0], max(EXAMPLE[1], shortest), feat_dim)
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own deprecations
            program = torch.onnx.export(
                model.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["feature"],
                dynamic_shapes=(axes,),
                verbose=False,
                optimize=False,
            )
            assert program is not None  # noqa: S101 (None is for calls that name a file)
            _name_output(program.model.graph)
            program.save(path, external_data=False)
    finally:
        exporter_log.setLevel(level)


def _name_output(graph: Any) -> None:
    """Call the output ``embedding``, and nothing else: a look-up in a table is called so too."""
    for node in graph:
        for value in node.outputs:
            if value.name == "embedding":
                value.name = "embedding_inside"
    graph.outputs[0].name = "embedding"
