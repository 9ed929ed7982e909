#!/usr/bin/env bash
# Build the C++ engine with warnings as errors, run its own tests, and compare it with Python: features, embeddings of
# four networks on three versions of ONNX Runtime and on OpenVINO, decisions, lists.
# Where cmake, g++, nlohmann/json, libsndfile or clang-format is not found, Debian's package is installed, which needs root.
# Usage: tests/engine/run.sh [pytest arguments]
# Example: tests/engine/run.sh -k verify
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,6s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo onnx openvino test"
. path.sh

missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v g++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
[[ -e /usr/include/nlohmann/json.hpp ]] || missing+=(nlohmann-json3-dev)
[[ -e /usr/include/sndfile.h ]] || missing+=(libsndfile1-dev)
command -v clang-format >/dev/null || missing+=(clang-format)
command -v pkg-config >/dev/null || missing+=(pkg-config)
((${#missing[@]} == 0)) || {
  log "installing ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } >&2 ||
    die "${missing[*]} could not be installed"
}

find runtime/onnxruntime '(' -name '*.cc' -o -name '*.h' -o -name '*.c' ')' -exec clang-format --dry-run --Werror {} + ||
  die "clang-format -i would change these files"

# the oldest version whose wheel has the library, and one in the middle; of any Python: only the library is used
for version in 1.19.2 1.24.4; do
  folder=.peers-engine/$version
  compgen -G "$folder/onnxruntime/capi/libonnxruntime.so.$version" >/dev/null || {
    log "installing onnxruntime $version into $folder"
    rm -rf "$folder"
    python -m pip install --quiet --no-deps --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64 \
      --platform manylinux_2_27_x86_64 --target "$folder" "onnxruntime==$version" >&2 ||
      die "onnxruntime $version could not be installed"
  }
  runtimes=${runtimes:+$runtimes:}$PWD/$folder/onnxruntime/capi
done
newest=$(python -c 'import importlib.util as u; print(u.find_spec("onnxruntime").submodule_search_locations[0])')/capi
export SPEAKERLAB_TEST_RUNTIMES=$runtimes:$newest

# kept between runs: make builds what has changed
export SPEAKERLAB_TEST_ENGINE=$PWD/.peers-engine/build
{
  cmake -S runtime/onnxruntime -B "$SPEAKERLAB_TEST_ENGINE" -DSPEAKER_ENGINE_WERROR=ON -DBUILD_SHARED_LIBS=ON \
    -DOpenVINO_DIR="$(python -c 'from openvino.utils import get_cmake_path as path; print(path())')"
  cmake --build "$SPEAKERLAB_TEST_ENGINE" --parallel "$(nproc)"
} >&2 || die "the engine could not be built"
ctest --test-dir "$SPEAKERLAB_TEST_ENGINE" --output-on-failure >&2 || die "a test of the engine's own failed"
# one thread per process: the cores are shared out by processes; nproc would count threads of an exported variable
OMP_NUM_THREADS=1 exec python -m pytest --numprocesses "$(nproc)" --dist loadfile tests/engine "$@"
