#!/usr/bin/env bash
# Compute features of a data dir: DATA_DIR/feats.scp and archives below OUT_DIR.
# Usage: steps/compute_fbank.sh [options] DATA_DIR OUT_DIR
# Example: steps/compute_fbank.sh --nj 4 --config conf/config.yaml data/train exp/feats/train
. steps/lib/strict.sh || exit 1  # not in the repository root
nj=2  # number of jobs
config=conf/config.yaml  # settings with the frontend section
max_fail_rate=0  # share of utterances that may fail; they are listed in failures.tsv
set=""  # settings to override, e.g. "frontend.num_mels=40"
overwrite=false  # discard output of other data or settings
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 2)) || usage_error "needs DATA_DIR OUT_DIR"
. path.sh
. steps/lib/launch.sh
. steps/lib/parallel_step.sh
options=(--config "$config")
for assignment in $set; do options+=(--set "$assignment"); done
run_parallel_step compute_fbank feats "${arguments[@]}" "${options[@]}"
ln -sfn "$(realpath "${arguments[1]}/feats.scp")" "${arguments[0]}/feats.scp"
