#!/usr/bin/env bash
# Train a network on a data dir; a stopped run goes on where its last epoch ended.
# Usage: steps/train.sh [options] TRAIN_DATA EXP_DIR
# Example: steps/train.sh --config conf/config.yaml --valid-data data/valid data/train exp/first
. steps/lib/strict.sh || exit 1  # not in the repository root
config=conf/config.yaml  # experiment settings
set=""  # settings to override, e.g. "train.epochs=5 seed=1"
valid_data=""  # data dir with trials of held-out speakers: EER after each epoch
noise_data=""  # data dir of noises for augmentation
rir_data=""  # data dir of room impulse responses for augmentation
feats_type=raw  # raw: features on the fly from audio; fbank: from feats.scp
use_vad=false  # with fbank: train on frames that vad.scp calls speech
gpus=auto  # GPUs to train on, e.g. "0 1"; "" trains on the CPU
num_workers=1  # processes that prepare crops
max_fail_rate=0  # share of utterances that may be unusable; others take their crops, failures.tsv lists them
overwrite=false  # discard a run with other settings or data
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 2)) || usage_error "needs TRAIN_DATA EXP_DIR"
. path.sh
. steps/lib/launch.sh
require_dir "${arguments[0]}"
require_file "$config"

options=(--config "$config" --feats-type "$feats_type" --num-workers "$num_workers"
  --max-fail-rate "$max_fail_rate")
for assignment in $set; do options+=(--set "$assignment"); done
[[ -z $valid_data ]] || options+=(--valid-data "$valid_data")
[[ -z $noise_data ]] || options+=(--noise-data "$noise_data")
[[ -z $rir_data ]] || options+=(--rir-data "$rir_data")
[[ $use_vad != true ]] || options+=(--use-vad)
[[ $overwrite != true ]] || options+=(--overwrite)

read -r -a gpu_list <<<"$(resolve_gpus "$gpus")"
launcher=(python -m)
if ((${#gpu_list[@]} > 1)); then
  launcher=(python -m torch.distributed.run --standalone --nproc-per-node "${#gpu_list[@]}" -m)
fi
# Threads of the network and crop workers share the cores: a thread that waits for the others must not spin,
# or it keeps the crop workers off their core.
mkdir -p "${arguments[1]}/log"
CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${gpu_list[*]-}") OMP_NUM_THREADS=$(nproc) OMP_WAIT_POLICY=PASSIVE \
  "${launcher[@]}" speakerlab.bin.train "${options[@]}" "${arguments[@]}" \
  2> >(tee -a "${arguments[1]}/log/train.log" >&2)
