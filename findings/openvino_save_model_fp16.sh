#!/usr/bin/env bash
# openvino.save_model stores a float32 network in float16 unless told otherwise.
# Guess: what is saved and read again computes what the network computed before.
# What happens: compress_to_fp16 is True by default: weights lose 13 bits, embeddings differ in the fourth digit
# although the processor is told to compute in float32. openvino.serialize keeps them.
# What follows: save_model(..., compress_to_fp16=False), or serialize; compare embeddings after saving, not before.
# Seen with: openvino 2026.4.1, onnx 1.23.2, Python 3.11.
# Usage: bash findings/openvino_save_model_fp16.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 openvino==2026.4.1
cd "$work"
venv/bin/python -W ignore - <<'END'
import sys
from importlib.metadata import version

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


import openvino

print("openvino", version("openvino"), "onnx", version("onnx"))
weights = constant("w", rng.standard_normal((80, 192)))
ends = [helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, ["B", 80]), ("y", TensorProto.FLOAT, ["B", 192]))]
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "m.onnx")
network = openvino.convert_model("m.onnx")
openvino.save_model(network, "saved.xml")
openvino.serialize(network, "serialized.xml")
inputs = rng.standard_normal((4, 80)).astype(np.float32)
expected = inputs @ numpy_helper.to_array(weights)
errors = {}
for name in ("m.onnx", "serialized.xml", "saved.xml"):
    compiled = openvino.Core().compile_model(name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    errors[name] = float(np.abs(compiled([inputs])[0] - expected).max() / np.abs(expected).max())
    print(f"{name}: largest difference from numpy {errors[name]:.1e} of the largest output")
as_recorded = errors["saved.xml"] > 1e-4 and errors["serialized.xml"] < 1e-5 and errors["m.onnx"] < 1e-5
sys.exit(0 if as_recorded else "this has changed")
END
