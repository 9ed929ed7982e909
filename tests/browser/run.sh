#!/usr/bin/env bash
# Test the web page of the server in a real browser, with a microphone that plays a recording.
# Where no chromium is found, Debian's package is installed, which needs root; without a browser this fails.
# SPEAKERLAB_SHOTS names a folder that keeps the screenshots.
# Usage: tests/browser/run.sh [pytest arguments]
# Example: tests/browser/run.sh -k enrol
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,6s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo serve test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .peers-browser requirements/browser.txt
export PYTHONPATH=$PYTHONPATH:$PWD/.peers-browser

command -v chromium >/dev/null || {
  log "installing chromium"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium; } >&2 ||
    die "chromium could not be installed"
}
SPEAKERLAB_TEST_CHROMIUM=$(command -v chromium) || die "chromium is installed, and not found"
export SPEAKERLAB_TEST_CHROMIUM
# one at a time: what the microphone plays takes its time, and the server needs the cores
OMP_NUM_THREADS=1 exec python -m pytest tests/browser "$@"
