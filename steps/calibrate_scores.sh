#!/usr/bin/env bash
# Turn scores of a trial list into log-likelihood ratios with a calibration of the same systems and measures.
# Usage: steps/calibrate_scores.sh [options] CALIBRATION TRIALS NAME=SCORES... OUT_SCORES
# Example: steps/calibrate_scores.sh exp/a/calibration.json data/test/trials campplus=exp/a/scores/model/test/trials exp/a/scores/calibrated/test/trials
. steps/lib/strict.sh || exit 1  # not in the repository root
measures=""  # quality measures, e.g. "min-log=data/test/utt2dur max-log=data/test/utt2dur"
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 4)) || usage_error "needs CALIBRATION TRIALS NAME=SCORES... OUT_SCORES"
. path.sh
options=()
for measure in $measures; do options+=(--measure "$measure"); done
python -m speakerlab.bin.calibrate_scores "${options[@]}" "${arguments[@]}"
