#!/usr/bin/env bash
# Write quality measures of the utterances of a data dir for calibration: OUT_DIR/utt2dur (seconds), utt2mag (length
# of the embedding) and, with --norm-stats, utt2cohort (mean score against the cohort).
# Usage: steps/measure_quality.sh [options] DATA_DIR EMBEDDINGS_DIR OUT_DIR
# Example: steps/measure_quality.sh data/dev exp/first/embeddings/model/dev exp/first/quality/dev
. steps/lib/strict.sh || exit 1  # not in the repository root
norm_stats=""  # cohort statistics of steps/score_trials.sh with a --norm, e.g. exp/first/scores/dev/cohort_stats.json
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 3)) || usage_error "needs DATA_DIR EMBEDDINGS_DIR OUT_DIR"
. path.sh
require_dir "${arguments[0]}"
require_file "${arguments[1]}/embeddings.scp" "run steps/extract_embeddings.sh first"
python -m speakerlab.bin.measure_quality ${norm_stats:+--norm-stats "$norm_stats"} \
  "${arguments[0]}" "${arguments[1]}/embeddings.scp" "${arguments[2]}"
