#!/usr/bin/env bash
# Score every trial list of some sets with one system: SCORES_DIR/<set>/<list>. With --norm also
# SCORES_DIR-<norm>, normalised by the speakers of EMBEDDINGS_DIR/backend; with --calibrate-on also
# ...-calibrated, log-likelihood ratios learned on DATA_DIR/<valid set>/trials.
# Usage: steps/score_sets.sh [options] DATA_DIR EMBEDDINGS_DIR SCORES_DIR SET...
# Example: steps/score_sets.sh --backend exp/a/backend/model.json --norm as-norm --calibrate-on valid \
#   exp/a/data exp/a/embeddings/model exp/a/scores/model test
. steps/lib/strict.sh || exit 1  # not in the repository root
backend=""  # back-end of steps/train_backend.sh; default: cosine without subtracting a mean
norm=none  # none, z-norm, t-norm, s-norm or as-norm
top_n=300  # number of closest cohort speakers used by as-norm
calibrate_on=""  # set of speakers that neither training nor test has
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 4)) || usage_error "needs DATA_DIR EMBEDDINGS_DIR SCORES_DIR SET..."
. path.sh
. steps/lib/trial_lists.sh
data_dir=${arguments[0]} embeddings_dir=${arguments[1]} scores_dir=${arguments[2]} sets=("${arguments[@]:3}")
systems=("$scores_dir"{,-calibrated} "$scores_dir"-{z,t,s,as}-norm{,-calibrated}) # of all options
made=() # by this call

score_all() { # score_all OUT_DIR [option of score_trials ...]
  local out_dir=$1 name
  shift
  made+=("$out_dir")
  for name in $calibrate_on "${sets[@]}"; do
    steps/score_trials.sh --backend "$backend" "$@" "$embeddings_dir/$name" "$data_dir/$name" "$out_dir/$name"
  done
}

score_all "$scores_dir"
if [[ $norm != none ]]; then
  scores_dir=$scores_dir-$norm
  score_all "$scores_dir" --norm "$norm" --top-n "$top_n" --cohort "$embeddings_dir/backend" \
    --cohort-utt2spk "$data_dir/backend/utt2spk"
fi
if [[ -n $calibrate_on ]]; then
  out_dir=$scores_dir-calibrated
  made+=("$out_dir")
  steps/train_calibration.sh "$data_dir/$calibrate_on/trials" "scores=$scores_dir/$calibrate_on/trials" \
    "$out_dir/calibration.json"
  for name in "${sets[@]}"; do
    for list in $(trial_lists "$data_dir/$name"); do
      steps/calibrate_scores.sh "$out_dir/calibration.json" "$data_dir/$name/$list" \
        "scores=$scores_dir/$name/$list" "$out_dir/$name/$list"
    done
  done
fi
for system in "${systems[@]}"; do # last, so that a call that fails costs no scores
  [[ " ${made[*]} " == *" $system "* ]] || rm -rf "$system"
done
