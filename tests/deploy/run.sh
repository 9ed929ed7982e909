#!/usr/bin/env bash
# Check what deploy/ holds: hadolint, systemd-analyze, and the image's steps in a bare virtual environment.
# Where systemd-analyze is not found, Debian's package is installed, which needs root.
# Usage: tests/deploy/run.sh [pytest arguments]
# Example: tests/deploy/run.sh -k unit
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,5s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo onnx serve test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .peers-deploy requirements/deploy.txt
command -v systemd-analyze >/dev/null || {
  log "installing systemd"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends systemd; } >&2 ||
    die "systemd-analyze could not be installed"
}
export PATH=$PWD/.peers-deploy/bin:$PATH
exec python -m pytest tests/deploy "$@"
