# trial_lists DATA_DIR: names of the trial lists of a data dir, `trials` first, then `trials_*` without a dot.
# shellcheck shell=bash

trial_lists() {
  local path name
  for path in "$1"/trials "$1"/trials_*; do
    name=$(basename "$path")
    if [[ -s $path && $name != *.* ]]; then echo "$name"; fi
  done
}
