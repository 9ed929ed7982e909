# The environment of every script here: locale, PYTHONPATH, and a Python with the requirements.
# Sourced from the repository root. An active environment that satisfies requirements/ is used as it is;
# otherwise .venv is made and filled, once (in ~/.cache/speakerlab where this folder is read-only).
# TORCH_INDEX_URL names another index for torch. By hand: `. path.sh`, then `speakerlab verify a.wav b.wav`.
# shellcheck shell=bash

export LC_ALL=C PYTHONUTF8=1 PYTHONUNBUFFERED=1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
REQUIREMENTS=${REQUIREMENTS:-core plot demo onnx}
environment=.venv

requirement_files() {
  local name
  for name in $REQUIREMENTS; do echo "requirements/$name.txt"; done
}

satisfied() {
  # shellcheck disable=SC2046  # one word per file is meant
  command -v python3 >/dev/null && python3 steps/lib/check_requirements.py "$@" $(requirement_files)
}

activate() {
  # shellcheck disable=SC1091
  [[ ! -f $environment/bin/activate ]] || . "$environment/bin/activate"
}

if ! satisfied --quiet; then
  activate
  if [[ ! -w . ]] && ! satisfied --quiet; then
    environment=${XDG_CACHE_HOME:-$HOME/.cache}/speakerlab/environment-$(cksum <<<"$PWD" | cut -d ' ' -f 1)
    activate
  fi
  if ! satisfied --quiet; then
    # in a shell of its own: it ends where it fails, and path.sh may be sourced by hand
    (. steps/lib/strict.sh && . steps/lib/make_environment.sh && make_environment) >&2 || return 1
    activate
  fi
  hash -r
fi
# where the command is not installed, that of this checkout
command -v speakerlab >/dev/null || speakerlab() { python3 -m speakerlab.cli "$@"; }
