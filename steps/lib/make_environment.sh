# Make the folder $environment and install $REQUIREMENTS there. Sourced by path.sh, which has the functions
# requirement_files, satisfied and activate; messages of pip and uv stay visible, ours are one line.
# Example: environment=.venv; make_environment
# shellcheck shell=bash

python_versions='>=3.10,<3.15' # as in pyproject.toml

find_python() {
  local candidate
  for candidate in python3 python3.{14,13,12,11,10}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

# uv_settings: uv fetches pip, which does the rest, and reads none of pip's settings: hand on what it needs for that
uv_settings() {
  export UV_NATIVE_TLS=${UV_NATIVE_TLS:-true} # trust what the system trusts, as pip does
  [[ -z ${PIP_CERT:-} ]] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
  [[ -z ${PIP_INDEX_URL:-} ]] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
}

# make_venv PYTHON: with its own modules, which Debian leaves out, else with uv, which also finds a Python
make_venv() {
  if [[ -n $1 ]] && "$1" -c 'import ensurepip, venv' 2>/dev/null; then
    "$1" -m venv "$environment" || die "$environment could not be made; see the message above"
  elif command -v uv >/dev/null; then
    (uv_settings && uv venv --seed --python "${1:-$python_versions}" "$environment") ||
      die "uv could not make $environment$(proxy_note); see its message above"
  elif [[ -n $1 ]]; then
    die "$1 has no venv module; on Debian: apt install python3-venv; elsewhere install uv"
  else
    die "needs Python 3.10 to 3.14; install one, or uv, and put it on PATH"
  fi
}

install_torch() {
  local pin
  pin=$(sed -n 's/^torch==//p' requirements/constraints.txt)
  if [[ -n ${TORCH_INDEX_URL:-} ]]; then
    python -m pip install --index-url "$TORCH_INDEX_URL" "torch==$pin"
  elif command -v nvidia-smi >/dev/null || [[ $(uname) == Darwin ]]; then # wheels for macOS are named without +cpu
    python -m pip install "torch==$pin"
  elif ! python -m pip install "torch==$pin+cpu"; then # the CPU build, where this pip can see one
    log "this pip offers no CPU build of torch $pin, taking the default one (with CUDA libraries);" \
      "set TORCH_INDEX_URL to an index with CPU builds to avoid that"
    python -m pip install "torch==$pin"
  fi
}

# proxy_note: the proxy that downloads go through, without a password, for the message when one fails
proxy_note() {
  local proxy=${https_proxy:-${HTTPS_PROXY:-${all_proxy:-${ALL_PROXY:-}}}}
  [[ -z $proxy ]] || sed -E 's#^(.*//)?([^/@]*@)?(.*)$# (through the proxy \1\3)#' <<<"$proxy"
}

make_environment() {
  local python name
  [[ $PWD != *:* ]] || die "$PWD: Python cannot work in a folder with a colon in its path; move it"
  python=$(find_python)
  log "setting up $environment with ${python:-uv} (once; some minutes, 1.4 GB, or 5 GB with CUDA)"
  mkdir -p "$(dirname "$environment")" ||
    die "$(dirname "$environment"): cannot be made, and $PWD is read-only; set XDG_CACHE_HOME to another folder"
  if ! "$environment/bin/python" -m pip --version >/dev/null 2>&1; then # none, or half of one
    rm -rf "$environment"
    make_venv "$python"
  fi
  activate
  install_torch || die "torch could not be installed$(proxy_note); see pip's message above"
  local -a files=()
  for name in $(requirement_files); do files+=(-r "$name"); done
  python -m pip install -c requirements/constraints.txt "${files[@]}" ||
    die "requirements could not be installed$(proxy_note); see pip's message above"
  satisfied || die "the environment in $environment is still incomplete; remove it and try again"
  log "$environment is ready"
}
