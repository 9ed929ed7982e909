#!/usr/bin/env bash
# Store a calibration in a model bundle: LLR of a cosine, and the threshold that verification uses. EMBEDDINGS_DIR
# is what steps/extract_embeddings.sh made with MODEL, of speakers that neither training nor test has.
# Usage: steps/calibrate_model.sh [options] MODEL EMBEDDINGS_DIR TRIALS
# Example: steps/calibrate_model.sh exp/first/model exp/first/embeddings/model/dev data/dev/trials
. steps/lib/strict.sh || exit 1  # not in the repository root
operating_point=voxceleb  # preset such as voxsrc or sre16, or prior,c_miss,c_fa such as 0.05,1,10
prior=0.5  # effective prior of a target that logistic regression is best at; 0.5 minimises Cllr
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 3)) || usage_error "needs MODEL EMBEDDINGS_DIR TRIALS"
. path.sh
python -m speakerlab.bin.calibrate_model --operating-point "$operating_point" --prior "$prior" "${arguments[@]}"
