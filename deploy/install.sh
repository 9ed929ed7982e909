#!/bin/sh
# Install the server from a checkout into a virtual environment of its own: what the image does, and any machine can.
# Usage: [TORCH_INDEX_URL=URL] deploy/install.sh CHECKOUT FOLDER
# Example: sh deploy/install.sh . /opt/speakerlab/
set -eu
if [ $# -ne 2 ]; then
  sed -n '2,4s/^# //p' "$0" >&2
  exit 2
fi
checkout=$1 folder=$2
python3 -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check --no-cache-dir "$@"; }
# torch comes first and from its own index: the other index has the CUDA build, gigabytes of it
pip install --quiet ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} \
  --constraint "$checkout/requirements/constraints.txt" torch
pip install --quiet --constraint "$checkout/requirements/constraints.txt" "${checkout}[onnx,serve,postgres]"
"$folder/bin/speakerlab" --version
