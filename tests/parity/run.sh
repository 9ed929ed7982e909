#!/usr/bin/env bash
# Compare our networks with independent implementations, which are installed into .peers (once).
# Usage: tests/parity/run.sh [pytest arguments]
# Example: tests/parity/run.sh -k campplus
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,4s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .peers requirements/parity.txt
export PYTHONPATH=$PYTHONPATH:$PWD/.peers
# one thread per process: the cores are shared out by processes
OMP_NUM_THREADS=1 exec python -m pytest --numprocesses "$(nproc)" tests/parity "$@"
