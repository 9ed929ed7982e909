#!/usr/bin/env bash
# onnxconverter-common's float16 converter changes constants that float16 could hold.
# Guess: 32768, the scale between samples in [-1, 1] and Kaldi's features, is exact in float16, and 2e-8 becomes the
# nearest float16.
# What happens: everything above 10000 is cut to 10000 and everything below 1e-7 is raised to 1e-7, with a warning
# among many: a waveform front end is scaled wrongly by a factor of 3.3 and computes on.
# What follows: pass max_finite_val=65504 and min_positive_val=5.96e-08, or keep the front end in float32; compare
# outputs on speech.
# Seen with: onnxconverter-common 1.16.0, onnx 1.23.2, Python 3.11.
# Usage: bash findings/onnx_float16_constants.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxconverter-common==1.16.0
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


from onnxconverter_common import float16

print("onnxconverter-common", version("onnxconverter-common"), "onnx", version("onnx"))
constants = {"scale": 32768.0, "floor": 1e-7 / 2}
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
nodes = [helper.make_node("Mul", ["x", "scale"], ["s"]), helper.make_node("Add", ["s", "floor"], ["y"])]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [constant(name, [value]) for name, value in constants.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
found = {}
for tensor in float16.convert_float_to_float16(model).graph.initializer:
    found[tensor.name] = float(numpy_helper.to_array(tensor)[0])
    nearest = float(np.float16(constants[tensor.name]))
    print(f"{tensor.name}: {constants[tensor.name]:g} in float32, {nearest:g} in float16, {found[tensor.name]:g} after the converter")
sys.exit(0 if found["scale"] == 10000 and found["floor"] > 9e-8 else "this has changed")
END
