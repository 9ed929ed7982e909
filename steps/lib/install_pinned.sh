# Packages beside those of the environment, for tests that compare with other toolkits.
# install_pinned FOLDER FILE installs what FILE pins into FOLDER, without dependencies, once for each content of FILE.
# Example: install_pinned .peers requirements/parity.txt
# shellcheck shell=bash

install_pinned() {
  cmp --silent "$2" "$1/$2" && return
  log "installing $2 into $1"
  rm -rf "$1"
  python -m pip install --no-deps --target "$1" -r "$2" >&2 || die "the packages of $2 could not be installed"
  mkdir -p "$1/$(dirname "$2")"
  cp "$2" "$1/$2"
}
