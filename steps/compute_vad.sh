#!/usr/bin/env bash
# Mark the frames of speech in a data dir: DATA_DIR/vad.scp, archives below OUT_DIR.
# Usage: steps/compute_vad.sh [options] DATA_DIR OUT_DIR
# Example: steps/compute_vad.sh --nj 4 data/test exp/vad/test
. steps/lib/strict.sh || exit 1  # not in the repository root
nj=2  # number of jobs
config=conf/config.yaml  # settings with the frontend section (frame length and shift)
vad=energy  # energy (Kaldi's rule) or silero (a network; needs the extra vad)
max_fail_rate=0  # share of utterances that may fail; they are listed in failures.tsv
set=""  # settings to override, e.g. "frontend.num_mels=40"
overwrite=false  # discard output of other data or settings
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 2)) || usage_error "needs DATA_DIR OUT_DIR"
. path.sh
. steps/lib/launch.sh
. steps/lib/parallel_step.sh
options=(--config "$config" --vad "$vad")
for assignment in $set; do options+=(--set "$assignment"); done
run_parallel_step compute_vad vad "${arguments[@]}" "${options[@]}"
ln -sfn "$(realpath "${arguments[1]}/vad.scp")" "${arguments[0]}/vad.scp"
