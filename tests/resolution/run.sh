#!/usr/bin/env bash
# Ask the package index whether every extra has wheels for every supported Python and platform; nothing is
# installed but the resolver, into .resolver (once). Needs the index; two to four minutes.
# Usage: tests/resolution/run.sh [pytest arguments]
# Example: tests/resolution/run.sh -k 3.14
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,5s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .resolver requirements/resolution.txt
export PATH=$PWD/.resolver/bin:$PATH
exec python -m pytest --numprocesses 4 tests/resolution "$@"
