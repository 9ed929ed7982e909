#!/usr/bin/env bash
# Average the last checkpoints of a finished training (train.average of them) into the bundle EXP_DIR/model.
# Usage: steps/average_checkpoints.sh EXP_DIR
# Example: steps/average_checkpoints.sh exp/first
. steps/lib/strict.sh || exit 1  # not in the repository root
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 1)) || usage_error "needs EXP_DIR"
. path.sh
python -m speakerlab.bin.average_checkpoints "${arguments[0]}" "${arguments[0]}/model"
