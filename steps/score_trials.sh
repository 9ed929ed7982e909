#!/usr/bin/env bash
# Score every trial list of a data dir by the cosine of its embeddings: OUT_DIR/<list>.
# Usage: steps/score_trials.sh [options] EMBEDDINGS_DIR DATA_DIR OUT_DIR
# Example: steps/score_trials.sh --backend exp/first/backend.json exp/first/embeddings/test data/test exp/first/scores
. steps/lib/strict.sh
backend=""  # back-end of steps/train_backend.sh: its mean is subtracted
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 3)) || usage_error "needs EMBEDDINGS_DIR DATA_DIR OUT_DIR"
. path.sh
. steps/lib/trial_lists.sh
require_file "${arguments[0]}/embeddings.scp" "run steps/extract_embeddings.sh first"
require_file "${arguments[1]}/trials" "a test set needs a trial list"
for list in $(trial_lists "${arguments[1]}"); do
  python -m speakerlab.bin.score_trials --embeddings "${arguments[0]}/embeddings.scp" \
    ${backend:+--backend "$backend"} "${arguments[1]}/$list" "${arguments[2]}/$list"
done
