#!/usr/bin/env bash
# Make the data dirs an experiment works on, without touching the given ones: WORK_DIR/train, WORK_DIR/valid
# (held-out training speakers, each recording cut in two), WORK_DIR/backend (for the back-end's statistics)
# and a copy of the tables of each test set under its own name.
# Usage: steps/make_work_data.sh [options] WORK_DIR TRAIN_DATA TEST_DATA...
# Example: steps/make_work_data.sh --num-valid-speakers 10 exp/first/data data/train data/test
. steps/lib/strict.sh || exit 1  # not in the repository root
num_valid_speakers=10  # training speakers held out; 0 makes no validation set
num_backend_utts=1000  # at most this many training utterances for the back-end
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} >= 3)) || usage_error "needs WORK_DIR TRAIN_DATA TEST_DATA..."
. path.sh

work_dir=${arguments[0]} train_data=${arguments[1]}
if ((num_valid_speakers > 0)); then
  python -m speakerlab.bin.make_validation --num-speakers "$num_valid_speakers" \
    "$train_data" "$work_dir/train" "$work_dir/valid"
else
  python -m speakerlab.bin.combine_data "$work_dir/train" "$train_data"
fi
num_utts=$(wc -l <"$work_dir/train/utt2spk")
python -m speakerlab.bin.subset_data --num-utts $((num_utts < num_backend_utts ? num_utts : num_backend_utts)) \
  "$work_dir/train" "$work_dir/backend"
for test_data in "${arguments[@]:2}"; do
  python -m speakerlab.bin.combine_data "$work_dir/$(basename "$test_data")" "$test_data"
done
