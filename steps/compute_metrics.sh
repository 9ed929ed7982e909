#!/usr/bin/env bash
# Error rates with intervals of every system on every trial list: tables on stdout, OUT_DIR/metrics.json, the
# page OUT_DIR/report.html and plots as PNG files. SCORES_DIR/<system>/<set>/<list> are scores of
# DATA_DIR/<set>/<list>; a card <list>.json beside them with "llr": true says that they are log-likelihood ratios.
# Usage: steps/compute_metrics.sh [options] DATA_DIR SCORES_DIR OUT_DIR SET...
# Example: steps/compute_metrics.sh --conditions "spk2gender utt2dur:3,6,10" exp/first/data exp/first/scores exp/first/results test
. steps/lib/strict.sh || exit 1  # not in the repository root
num_draws=1000  # bootstrap draws of the speakers for the intervals
points="voxceleb voxsrc"  # evaluations whose operating points are used for minDCF and actDCF, e.g. "sre16 sre21"
conditions=""  # results by the values of these files of each set; numbers by bins: "spk2gender utt2dur:3,6,10"
llr=""  # systems whose scores are log-likelihood ratios, where no card says so
exp_dir=""  # experiment that the report describes; default: the folder of DATA_DIR, if it has a config.yaml
plot=auto  # plots as PNG files: true, false, or auto: if matplotlib (requirements/plot.txt) is installed
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 4)) || usage_error "needs DATA_DIR SCORES_DIR OUT_DIR SET..."
[[ $plot =~ ^(auto|true|false)$ ]] || usage_error "plot is auto, true or false, not '$plot'"
. path.sh
. steps/lib/trial_lists.sh
data_dir=${arguments[0]} scores_dir=${arguments[1]} out_dir=${arguments[2]}
systems=()
for name in "${arguments[@]:3}"; do
  for list in $(trial_lists "$data_dir/$name"); do
    for system in "$scores_dir"/*; do
      require_file "$system/$name/$list" "run steps/score_trials.sh first"
      systems+=(--system "$(basename "$system")" "$data_dir/$name/$list" "$system/$name/$list")
    done
  done
done
((${#systems[@]})) || die "$data_dir: no trial lists in ${arguments[*]:3}"
options=(--num-draws "$num_draws" --json "$out_dir/metrics.json" --report "$out_dir/report.html")
add_words() { # add_words OPTION "WORD WORD ..."
  local words
  read -r -a words <<<"$2"
  ((${#words[@]} == 0)) || options+=("$1" "${words[@]}")
}
add_words --points "$points"
add_words --conditions "$conditions"
add_words --llr "$llr"
[[ -n $exp_dir || ! -f $(dirname "$data_dir")/config.yaml ]] || exp_dir=$(dirname "$data_dir")
[[ -z $exp_dir ]] || options+=(--exp-dir "$exp_dir")
if [[ $plot == true ]] || { [[ $plot == auto ]] && python -c "import matplotlib" 2>/dev/null; }; then
  options+=(--plot-dir "$out_dir")
fi
python -m speakerlab.bin.compute_metrics "${options[@]}" "${systems[@]}"
