#!/usr/bin/env bash
# Score every trial list of a data dir: OUT_DIR/<list>, and beside it the card <list>.json that says how.
# Usage: steps/score_trials.sh [options] EMBEDDINGS_DIR DATA_DIR OUT_DIR
# Example: steps/score_trials.sh --backend exp/first/backend.json --norm as-norm --cohort exp/first/embeddings/train \
#   --cohort-utt2spk data/train/utt2spk exp/first/embeddings/test data/test exp/first/scores
. steps/lib/strict.sh || exit 1  # not in the repository root
backend=""  # back-end of steps/train_backend.sh; default: cosine without subtracting a mean
enroll_embeddings=""  # EMBEDDINGS_DIR of the enrolment utterances, if it is another
enroll_map=""  # 'model utt1 utt2 ...' per line: what the models of the trials are made of; default: DATA_DIR/enroll.map
enroll_rule=mean-embedding  # score of such a model: mean-embedding, mean-score or max-score
norm=none  # score normalisation: none, z-norm, t-norm, s-norm or as-norm
top_n=300  # number of cohort scores, the highest ones, used by as-norm
cohort=""  # EMBEDDINGS_DIR of impostors, e.g. of the training set
cohort_unit=speaker  # an impostor is the mean of a speaker, or an utterance
cohort_utt2spk=""  # speakers of the cohort
utt2spk=""  # speakers of the trials, who are left out of the cohort; default: utt2spk of DATA_DIR, if any
norm_stats=""  # keep the cohort statistics here for later calls; default: OUT_DIR/cohort_stats.json, made anew
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 3)) || usage_error "needs EMBEDDINGS_DIR DATA_DIR OUT_DIR"
. path.sh
. steps/lib/trial_lists.sh
embeddings_dir=${arguments[0]} data_dir=${arguments[1]} out_dir=${arguments[2]}
for dir in "$embeddings_dir" ${enroll_embeddings:+"$enroll_embeddings"} ${cohort:+"$cohort"}; do
  require_file "$dir/embeddings.scp" "run steps/extract_embeddings.sh first"
done
require_file "$data_dir/trials" "a test set needs a trial list"

options=(--embeddings "$embeddings_dir/embeddings.scp" ${backend:+--backend "$backend"} --enroll-rule "$enroll_rule"
  ${enroll_embeddings:+--enroll-embeddings "$enroll_embeddings/embeddings.scp"}
  ${enroll_map:+--enroll-map "$enroll_map"})
if [[ $norm != none ]]; then
  [[ -n $cohort ]] || usage_error "--norm $norm needs --cohort"
  [[ -n $utt2spk || ! -f $data_dir/utt2spk ]] || utt2spk=$data_dir/utt2spk
  if [[ -z $norm_stats ]]; then
    norm_stats=$out_dir/cohort_stats.json # the lists of a data dir share them
    rm -f "$norm_stats"
  fi
  options+=(--norm "$norm" --top-n "$top_n" --cohort "$cohort/embeddings.scp" --cohort-unit "$cohort_unit"
    ${cohort_utt2spk:+--cohort-utt2spk "$cohort_utt2spk"} ${utt2spk:+--utt2spk "$utt2spk"}
    --norm-stats "$norm_stats")
fi
for list in $(trial_lists "$data_dir"); do
  python -m speakerlab.bin.score_trials "${options[@]}" "$data_dir/$list" "$out_dir/$list"
done
