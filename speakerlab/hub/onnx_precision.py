"""An exported graph in fewer bits: half precision, or its products in int8.

``reduce_precision(path, "int8", feats)`` replaces the graph at ``path``; ``feats`` [T, F], normalised and of
real speech, are what int8 is calibrated on and what fp16 must have room for.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab import onnxruntime_import
from speakerlab.errors import SpeakerLabError
from speakerlab.types import Float32Array

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")
PRODUCTS = ("Conv", "Gemm", "MatMul")  # what int8 pays for; all else stays in float32
LARGEST_HALF = 65504.0
_LARGEST = "largest_values"  # output of the graph that is watched


def reduce_precision(path: Path, precision: str, feats: Iterable[Float32Array]) -> None:
    """Replace the float32 graph at ``path``; its input and output stay float32.

    Args:
        path: a graph of ``onnx_export.export``.
        precision: one of ``PRECISIONS`` but the first.
        feats: normalised features, each [T, F]; ``int8-dynamic`` looks at none.

    Raises:
        SpeakerLabError: half precision cannot hold a weight or a value; no product is left for int8.
        MissingExtraError: onnxruntime is not installed.
    """
    onnxruntime_import.runtime("onnx")  # before any of its parts
    from speakerlab.hub.onnx_export import quiet

    with quiet():
        {"fp16": _to_half, "int8": _to_int8, "int8-dynamic": _to_dynamic_int8}[precision](path, feats)


def _to_half(path: Path, feats: Iterable[Float32Array]) -> None:
    import onnx
    from onnxruntime.transformers import float16

    model = onnx.load(path)
    _check_weights(model)
    _check_values(model, feats)
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True), path)


def _check_weights(model: Any) -> None:
    """Refuse weights that would become Inf; the converter would clip them without a word."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        # A single number may be the stand-in for infinity of a mask.
        if array.dtype == np.float32 and array.size > 1 and np.abs(array).max() > LARGEST_HALF:
            raise _too_large(f"weight {tensor.name}", float(np.abs(array).max()))


def _check_values(model: Any, feats: Iterable[Float32Array]) -> None:
    """Refuse a network whose values leave the range of half precision.

    Looked for in float32: on a CPU, ONNX Runtime computes most operators of a half-precision graph in
    float32 and would hide what overflows on a GPU.
    """
    from speakerlab.hub import onnx_file

    with tempfile.TemporaryDirectory() as folder:
        watched = Path(folder) / "watched.onnx"
        names = _write_watched(model, watched)
        session = onnx_file.open_session(watched, onnx_file.session_settings(0))
        for each in feats:
            (largest,) = session.run([_LARGEST], {"feature": each[None]})
            for name, value in zip(names, largest.tolist(), strict=True):
                if LARGEST_HALF < value < math.inf:  # what is infinite in float32 too, a network lives with
                    raise _too_large(f"value {name}", value)


def _too_large(what: str, value: float) -> SpeakerLabError:
    return SpeakerLabError(
        f"{what} reaches {value:.3g}, half precision ends at {LARGEST_HALF:.0f}; nothing was written, use "
        "--precision int8 or fp32"
    )


def _write_watched(model: Any, path: Path) -> list[str]:
    """``model`` at ``path`` with one more output, the largest magnitude of every value; their names."""
    import onnx
    from onnx import TensorProto, helper

    watched = onnx.shape_inference.infer_shapes(model)
    graph = watched.graph
    floats = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    names = [name for node in graph.node for name in node.output if name in floats]
    nodes, ends = [], []
    for number, name in enumerate(names):
        absolute, largest, flat = (f"watch_{number}_{step}" for step in ("absolute", "largest", "flat"))
        nodes.append(helper.make_node("Abs", [name], [absolute]))
        nodes.append(helper.make_node("ReduceMax", [absolute], [largest], keepdims=1))
        nodes.append(helper.make_node("Reshape", [largest, "watch_shape"], [flat]))
        ends.append(flat)
    graph.initializer.append(helper.make_tensor("watch_shape", TensorProto.INT64, [1], [-1]))
    graph.node.extend([*nodes, helper.make_node("Concat", ends, [_LARGEST], axis=0)])
    graph.output.append(helper.make_tensor_value_info(_LARGEST, TensorProto.FLOAT, [len(names)]))
    onnx.save(watched, path)
    return names


class _Reader:
    """Features one at a time, as the calibrator asks for them."""

    def __init__(self, feats: Iterable[Float32Array]) -> None:
        self._feats = iter(feats)

    def get_next(self) -> dict[str, Float32Array] | None:
        """The next input, None after the last."""
        each = next(self._feats, None)
        return None if each is None else {"feature": each[None]}


def _to_int8(path: Path, feats: Iterable[Float32Array]) -> None:
    """Unsigned activations and signed weights by channel: what AVX512-VNNI multiplies without loss.

    Ranges are from the least to the largest value. On a ResNet trained on real speech (64 excerpts of 3 s,
    mean / lowest cosine to float32 of 121 utterances): 0.99939 / 0.9975; entropy the same; percentiles
    99.999: 0.99942 / 0.9955, 99.99: 0.9990 / 0.979, 99.9: 0.996 / 0.878; and histograms keep all values of
    all excerpts in memory. With 16 excerpts instead of 64 the lowest cosine is 0.88.
    """
    from onnxruntime import quantization

    model = _prepared(path)
    quantization.quantize_static(
        model,
        path,
        _Reader(feats),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(PRODUCTS),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=_ends(model),
        calibrate_method=quantization.CalibrationMethod.MinMax,
        extra_options={"MatMulConstBOnly": True},  # products of two activations, in attention, lose most
    )


def _to_dynamic_int8(path: Path, _feats: Iterable[Float32Array]) -> None:
    from onnxruntime import quantization

    model = _prepared(path)
    quantization.quantize_dynamic(
        model,
        path,
        op_types_to_quantize=list(PRODUCTS),
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=_ends(model),
    )


def _prepared(path: Path) -> Any:
    """The graph at ``path`` with constants folded, normalisations merged into products and nodes named."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "prepared.onnx"
        # Symbolic shapes add nothing here, and their inference breaks off at some of our graphs.
        quant_pre_process(path, target, skip_symbolic_shape=True)
        model = onnx.load(target)
    # The quantisers infer shapes anew, after they transposed weights to which the old ones do not apply.
    model.graph.ClearField("value_info")
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    return model


def _ends(model: Any) -> list[str]:
    """Names of the first and the last product, which stay in float.

    It costs little time, and half of the loss is theirs: mean cosine 0.9994 instead of 0.9987 on the ResNet
    of ``_to_int8``.
    """
    names = [node.name for node in model.graph.node if node.op_type in PRODUCTS]
    if len(names) < 3:
        raise SpeakerLabError(
            f"the network has {len(names)} products, of which the first and the last stay in float: nothing "
            "is left for int8; use --precision fp16"
        )
    return [names[0], names[-1]]
