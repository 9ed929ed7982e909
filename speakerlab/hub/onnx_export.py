"""A network as an ONNX graph: input ``feature`` [batch, frames, F], output ``embedding`` [batch, E].

``export(model, feat_dim=80, path=Path("model.onnx"))``. Both axes are dynamic; the graph takes whole
utterances of one length, without padding. It comes from ``torch.export``, not from TorchScript.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from speakerlab.errors import MissingExtraError

if TYPE_CHECKING:
    from speakerlab.hub.onnx_waveform import WaveformEmbedder

OPSET = 18
EXAMPLE = (2, 345)  # utterances, frames: any size above min_frames gives the same graph


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing below an error: exporter and quantisers tell every step, in part to the root logger."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def export(model: torch.nn.Module, feat_dim: int, path: Path) -> None:
    """Write ``model`` (any registered network) to ``path``: input ``feature`` [batch, frames, feat_dim].

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    # An axis of one frame would be taken for a constant, and strides may leave one; what the graph accepts
    # does not depend on this number.
    shortest = max(64, int(cast("int", model.min_frames)))
    example = torch.randn(EXAMPLE[0], max(EXAMPLE[1], shortest), feat_dim)
    _write(model, example, {"feature": torch.export.Dim("frames", min=shortest)}, path)


def export_waveform(embedder: WaveformEmbedder, path: Path) -> None:
    """Write ``embedder`` to ``path``: input ``waveform`` [batch, samples] in [-1, 1].

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    shortest = embedder.min_samples(64)
    example = 0.1 * torch.randn(EXAMPLE[0], embedder.min_samples(EXAMPLE[1]))
    _write(embedder, example, {"waveform": torch.export.Dim("samples", min=shortest)}, path)


def _write(model: torch.nn.Module, example: torch.Tensor, axis: dict[str, Any], path: Path) -> None:
    """``model`` at ``path``; ``axis`` is the input's name and its dynamic axis 1, beside the batch.

    The exporter's own optimiser stays off: it changes the epsilon of batch normalisation (relative error
    6e-5 in a TDNN of five layers), and runtimes optimise when they load. Its constants alone are folded:
    it writes the bias that a convolution has not as an expression, beside which ONNX Runtime neither merges
    the normalisation that follows nor takes its faster layout.
    """
    try:
        from onnxscript import optimizer
    except ImportError as error:
        raise MissingExtraError("onnxscript", "onnx") from error
    ((name, dynamic),) = axis.items()
    axes = {0: torch.export.Dim("batch", min=1), 1: dynamic}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own deprecations
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[name],
            dynamic_shapes=(axes,),
            verbose=False,
            optimize=False,
        )
        assert program is not None  # noqa: S101 (None is for calls that name a file)
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
        _name_output(program.model.graph)
        program.save(path, external_data=False)


def _name_output(graph: Any) -> None:
    """Call the output ``embedding``, and nothing else: a look-up in a table is called so too."""
    for node in graph:
        for value in node.outputs:
            if value.name == "embedding":
                value.name = "embedding_inside"
    graph.outputs[0].name = "embedding"
