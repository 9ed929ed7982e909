#!/usr/bin/env bash
# onnx.utils.extract_model drops the metadata of a model.
# Guess: the extracted part keeps metadata_props, as the version converter, shape inference, onnxslim and ONNX
# Runtime's optimised files do.
# What happens: metadata_props of the part are empty: sample rate, threshold and licence are gone, and a reader with
# defaults goes on with its own.
# What follows: copy metadata_props by hand after extract_model; a reader should refuse a file without them.
# Seen with: onnx 1.23.2, onnxslim 0.1.98, Python 3.11.
# Usage: bash findings/onnx_extract_model_metadata.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxslim==0.1.98
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


import onnxslim
from onnx import version_converter

print("onnx", version("onnx"), "onnxslim", version("onnxslim"))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Sqrt", ["r"], ["y"])]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
helper.set_model_props(model, {"sample_rate": "8000", "threshold": "0.31"})
onnx.save(model, "m.onnx")
onnx.utils.extract_model("m.onnx", "part.onnx", ["x"], ["r"])
made = {
    "version_converter": version_converter.convert_version(model, 18),
    "infer_shapes": onnx.shape_inference.infer_shapes(model),
    "onnxslim": onnxslim.slim("m.onnx"),
    "extract_model": onnx.load("part.onnx"),
}
kept = {name: {entry.key: entry.value for entry in one.metadata_props} for name, one in made.items()}
for name, entries in kept.items():
    print(f"{name}: {entries}")
sys.exit(0 if not kept.pop("extract_model") and all(len(entries) == 2 for entries in kept.values()) else "this has changed")
END
