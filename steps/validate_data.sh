#!/usr/bin/env bash
# Check Kaldi data dirs against their contract; each fault is one line with its remedy, and the exit status is then 1.
# Usage: steps/validate_data.sh [options] DATA_DIR...
# Example: steps/validate_data.sh --check-audio true data/train data/test
. steps/lib/strict.sh || exit 1  # not in the repository root
check_audio=false  # also decode every file: truncated, NaN, silent or too short audio is found
need_speakers=false  # every utterance must have a speaker
need_trials=false  # there must be a trial list
train_data=""  # data dir of training: its recordings must not be in these, its speakers give a warning
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 1)) || usage_error "needs at least one data dir"
. path.sh

options=()
[[ $check_audio != true ]] || options+=(--check-audio)
[[ $need_speakers != true ]] || options+=(--need-speakers)
[[ $need_trials != true ]] || options+=(--need-trials)
[[ -z $train_data ]] || options+=(--train-data "$train_data")
failed=0
for data_dir in "${arguments[@]}"; do
  python -m speakerlab.bin.validate_data "${options[@]}" "$data_dir" || failed=1
done
exit "$failed"
