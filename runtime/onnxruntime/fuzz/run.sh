#!/usr/bin/env bash
# Fuzz the readers of WAV files, lists, fbank_config.json and ONNX files, with AddressSanitizer and UBSan, one after
# the other. What crashes or hangs is left in the folder, and the exit status is 1.
# Usage: fuzz/run.sh SECONDS [FOLDER]
# Example: fuzz/run.sh 600 /tmp/fuzz
set -euo pipefail
if (($# < 1)) || [[ $1 == --help ]]; then
  sed -n '2,5s/^# //p' "$0"
  exit $((2 * ($# < 1)))
fi
here=$(dirname "$(realpath "$0")")
folder=${2:-$(mktemp -d)}
mkdir -p "$folder"
cmake -S "$here/.." -B "$folder/build" -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DSPEAKER_ENGINE_FUZZ=ON \
  -DSPEAKER_ENGINE_TESTS=OFF -DSPEAKER_ENGINE_OPENVINO=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DSPEAKER_ENGINE_SANITIZE=address,undefined,fuzzer-no-link
cmake --build "$folder/build" --parallel "$(nproc)" --target fuzz_wav fuzz_scp fuzz_config fuzz_onnx
python3 "$here/seeds.py" "$folder/seeds"
cd "$folder"
for kind in wav scp config onnx; do
  mkdir -p "corpus-$kind"
  echo "fuzzing $kind for $1 s"
  "build/bin/fuzz_$kind" -max_total_time="$1" -max_len=4096 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
    "corpus-$kind" "seeds/$kind" 2>&1 | tail -n 12
done
