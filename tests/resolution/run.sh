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
pinned=requirements/resolution.txt
if ! cmp --silent $pinned .resolver/$pinned; then
  rm -rf .resolver
  python -m pip install --no-deps --target .resolver -r $pinned >&2 || die "the resolver could not be installed"
  mkdir .resolver/requirements
  cp $pinned .resolver/$pinned
fi
export PATH=$PWD/.resolver/bin:$PATH
exec python -m pytest --numprocesses 4 tests/resolution "$@"
