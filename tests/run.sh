#!/usr/bin/env bash
# Run every test, in the environment that path.sh sets up with the test extras added.
# Usage: tests/run.sh [pytest arguments]
# Example: tests/run.sh tests/unit -k audio
cd "$(dirname "$(realpath "$0")")/.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,4s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo onnx serve ssl vad test"
. path.sh
# one thread per process: the cores are shared out by processes
OMP_NUM_THREADS=1 exec python -m pytest --numprocesses "$(nproc)" --dist loadfile "$@"
