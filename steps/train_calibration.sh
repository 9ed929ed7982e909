#!/usr/bin/env bash
# Train a calibration on a labelled trial list; several systems are fused. Calibrate on speakers that neither
# training nor test has.
# Usage: steps/train_calibration.sh [options] TRIALS NAME=SCORES... OUT_FILE
# Example: steps/train_calibration.sh data/dev/trials campplus=exp/a/scores/model/dev/trials exp/a/calibration.json
. steps/lib/strict.sh || exit 1  # not in the repository root
method=logistic  # logistic: affine, any number of systems; pav: any rising map of one system
prior=0.5  # effective prior of a target that logistic regression is best at; 0.5 minimises Cllr
measures=""  # quality measures, e.g. "min-log=data/dev/utt2dur max-log=data/dev/utt2dur"
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 3)) || usage_error "needs TRIALS NAME=SCORES... OUT_FILE"
. path.sh
options=(--method "$method" --prior "$prior")
for measure in $measures; do options+=(--measure "$measure"); done
python -m speakerlab.bin.train_calibration "${options[@]}" "${arguments[@]}"
