#!/usr/bin/env bash
# Attack the speaker server with requests that schemathesis derives from its OpenAPI description.
# Usage: tests/openapi/run.sh [pytest arguments]
# Example: tests/openapi/run.sh -s
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,4s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo onnx serve test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .peers-openapi requirements/openapi.txt
export PEERS=$PWD/.peers-openapi
OMP_NUM_THREADS=1 exec python -m pytest tests/openapi "$@"
