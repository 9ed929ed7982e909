# The environment of every script here: locale, PYTHONPATH, and a Python with the requirements.
# Sourced from the repository root. An active environment that satisfies requirements/ is used as it is;
# otherwise .venv is made and filled, once. TORCH_INDEX_URL names another index for torch.
# shellcheck shell=bash

export LC_ALL=C PYTHONUTF8=1 PYTHONUNBUFFERED=1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
REQUIREMENTS=${REQUIREMENTS:-core plot demo}

requirement_files() {
  local name
  for name in $REQUIREMENTS; do echo "requirements/$name.txt"; done
}

satisfied() {
  # shellcheck disable=SC2046  # one word per file is meant
  command -v python3 >/dev/null && python3 steps/lib/check_requirements.py "$@" $(requirement_files)
}

find_python() {
  local candidate
  for candidate in python3 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  die "needs Python 3.10, 3.11 or 3.12; install one and put it on PATH"
}

install_torch() {
  local pin
  pin=$(sed -n 's/^torch==//p' requirements/constraints.txt)
  if [[ -n ${TORCH_INDEX_URL:-} ]]; then
    python -m pip install --index-url "$TORCH_INDEX_URL" "torch==$pin"
  elif command -v nvidia-smi >/dev/null; then
    python -m pip install "torch==$pin"
  elif ! python -m pip install "torch==$pin+cpu"; then # the CPU build, where this pip can see one
    log "this pip offers no CPU build of torch $pin, taking the default one (with CUDA libraries);" \
      "set TORCH_INDEX_URL to an index with CPU builds to avoid that"
    python -m pip install "torch==$pin"
  fi
}

make_environment() {
  local python name
  python=$(find_python)
  log "setting up .venv with $("$python" --version) (once; some minutes, about 1.5 GB)"
  if [[ ! -x .venv/bin/python ]]; then
    rm -rf .venv
    "$python" -m venv .venv || die "python venv module failed; on Debian: apt install python3-venv"
  fi
  # shellcheck disable=SC1091
  . .venv/bin/activate
  install_torch || die "torch could not be installed; see pip's message above"
  local -a files=()
  for name in $(requirement_files); do files+=(-r "$name"); done
  python -m pip install -c requirements/constraints.txt "${files[@]}" ||
    die "requirements could not be installed; see pip's message above"
  satisfied || die "the environment in .venv is still incomplete; remove .venv and try again"
  log ".venv is ready"
}

if ! satisfied --quiet; then
  if [[ -f .venv/bin/activate ]]; then
    # shellcheck disable=SC1091
    . .venv/bin/activate
  fi
  satisfied --quiet || make_environment >&2
  hash -r
fi
