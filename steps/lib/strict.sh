# Strict mode and the words every script speaks. Sourced first; example: . steps/lib/strict.sh
# shellcheck shell=bash
set -euo pipefail

script_file=${script_file:-$0}
program=$(basename -- "$0") # a login shell is called -bash

# people's messages go to stderr; stdout carries results only
log() { printf '%s %s: %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$program" "$*" >&2; }

die() {
  printf '%s: %s\n' "$program" "$*" >&2
  exit 1
}

usage_error() {
  printf '%s: %s; see %s --help\n' "$program" "$*" "$0" >&2
  exit 2
}

require_dir() { [[ -d $1 ]] || die "$1: no such directory; ${2:-check the path}"; }
require_file() { [[ -s $1 ]] || die "$1: missing or empty; ${2:-check the path}"; }

# require_writable PATH OPTION: PATH can be written, or the nearest folder above it that is there
require_writable() {
  local path=$1
  until [[ -e $path ]]; do path=$(dirname "$path"); done
  [[ -w $path ]] || die "$1: cannot be written; give another folder with $2"
}
