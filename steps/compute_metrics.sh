#!/usr/bin/env bash
# EER and minDCF with intervals of every system on every trial list: a table, OUT_DIR/metrics.json and
# OUT_DIR/det.png. SCORES_DIR/<system>/<set>/<list> are scores of DATA_DIR/<set>/<list>.
# Usage: steps/compute_metrics.sh [options] DATA_DIR SCORES_DIR OUT_DIR SET...
# Example: steps/compute_metrics.sh exp/first/data exp/first/scores exp/first/results test
. steps/lib/strict.sh
num_draws=1000  # bootstrap draws of the speakers for the intervals
plot=true  # draw the DET plot (needs matplotlib: pip install 'speakerlab[plot]')
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 4)) || usage_error "needs DATA_DIR SCORES_DIR OUT_DIR SET..."
. path.sh
. steps/lib/trial_lists.sh
data_dir=${arguments[0]} scores_dir=${arguments[1]} out_dir=${arguments[2]}
systems=()
for name in "${arguments[@]:3}"; do
  for list in $(trial_lists "$data_dir/$name"); do
    for system in "$scores_dir"/*/; do
      require_file "$system$name/$list" "run steps/score_trials.sh first"
      systems+=(--system "$(basename "$system")" "$data_dir/$name/$list" "$system$name/$list")
    done
  done
done
((${#systems[@]})) || die "$data_dir: no trial lists in ${arguments[*]:3}"
[[ $plot != true ]] || systems+=(--plot "$out_dir/det.png")
python -m speakerlab.bin.compute_metrics --num-draws "$num_draws" --json "$out_dir/metrics.json" "${systems[@]}"
