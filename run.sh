#!/usr/bin/env bash
# From speech to a DET curve: prepare, validate, features, VAD, train, average, embed, back-end, score, measure.
# Without options it makes its own synthetic corpus; real speech is one option away.
# Usage: bash run.sh [options]
# Example: bash run.sh --train-data data/train --test-data "data/test" --exp exp/mine --stage 4 --stop-stage 9
script_file=$(realpath "$0")  # egs/<corpus>/<recipe>/run.sh is a link to this file
link_dir=$(cd "$(dirname "$0")" && pwd -P)
cd "$(dirname "$script_file")" || exit 1
. steps/lib/strict.sh
stage=0  # first stage to run
stop_stage=9  # last stage to run
recipe=""  # recipe folder, e.g. egs/mini_librispeech/campplus; it sets options and takes --exp
exp=exp/demo  # where everything is written
data=data/demo  # stage 0 makes data/train and data/test here, unless --train-data is given
prepare=local/prepare_data.py  # stage 0: the script that prepares the corpus
data_src=""  # existing copy of the corpus for stage 0
train_data=""  # Kaldi data dir to train on; default: what stage 0 made
test_data=""  # Kaldi data dirs with trials, e.g. "data/a data/b"; default: what stage 0 made
noise_data=""  # data dir of noises for augmentation
rir_data=""  # data dir of room impulse responses for augmentation
config=conf/config.yaml  # experiment settings
set=""  # settings to override, e.g. "train.epochs=5 seed=1"
num_backend_utts=1000  # training utterances whose mean embedding the back-end subtracts
num_valid_speakers=10  # training speakers held out for the EER after each epoch
feats_type=raw  # raw: features on the fly; fbank: stage 2 stores them
scorer=cosine  # stage 7: cosine, plda or kaldi-plda
lda_dim=0  # stage 7: dimensions that LDA leaves; 0: no LDA
norm=none  # stage 8: also normalise scores by the back-end's speakers: z-norm, t-norm, s-norm or as-norm
top_n=300  # number of closest cohort speakers used by as-norm
calibrate=true  # stage 8: also give log-likelihood ratios, learned on the validation speakers' trials
vad=energy  # stage 3: energy (Kaldi's rule) or silero (a network; needs the extra vad)
use_vad=false  # stage 3 marks speech; extraction (and training on fbank) uses only that
check_audio=true  # stage 1 decodes every file
nj=2  # jobs of the parallel stages
gpus=auto  # e.g. "0 1"; "" for CPU; auto: CUDA_VISIBLE_DEVICES, else all there are
batch_size=1  # utterances per network call in stage 6
max_fail_rate=0  # share of utterances that may fail in stages 2, 3, 4, 6; later stages do without them
overwrite=false  # discard results of other settings or data
. steps/lib/parse_options.sh
. steps/lib/read_recipe.sh
read_recipe "$@"
parse_options "$@"
((${#arguments[@]} == 0)) || usage_error "unexpected argument '${arguments[0]}'"
[[ $stage =~ ^[0-9]$ && $stop_stage =~ ^[0-9]$ ]] || usage_error "--stage and --stop-stage are 0 to 9"
train_data=${train_data:-$data/train} test_data=${test_data:-$data/test}
require_writable "$exp" --exp
((stage > 0)) || [[ $train_data != "$data/train" ]] || require_writable "$data" --data
. path.sh

read -r -a test_dirs <<<"$test_data"
sets=()
for dir in "${test_dirs[@]}"; do
  name=$(basename "$dir")
  [[ " train valid backend ${sets[*]-} " != *" $name "* ]] || die "--test-data: two sets are called $name"
  sets+=("$name")
done
parallel=(--nj "$nj" --max-fail-rate "$max_fail_rate" --overwrite "$overwrite")
valid_data="" && ((num_valid_speakers == 0)) || valid_data=$exp/data/valid
all_sets=(train ${valid_data:+valid} backend "${sets[@]}")
models=(model untrained) # the network before training stands beside the trained one in every table

in_stage() {
  ((stage <= $1 && $1 <= stop_stage)) || return 1
  log "stage $1: $2"
}

if in_stage 0 "prepare data"; then
  if [[ $train_data == "$data/train" ]]; then
    python "$prepare" ${data_src:+--data-src "$data_src"} "$data"
  else
    log "nothing to prepare, training data is $train_data"
  fi
fi

if in_stage 1 "validate data, hold out $num_valid_speakers speakers for validation"; then
  steps/validate_data.sh --check-audio "$check_audio" --need-speakers true "$train_data"
  steps/validate_data.sh --check-audio "$check_audio" --need-trials true --train-data "$train_data" \
    "${test_dirs[@]}"
  steps/make_work_data.sh --num-valid-speakers "$num_valid_speakers" --num-backend-utts "$num_backend_utts" \
    "$exp/data" "$train_data" "${test_dirs[@]}"
fi
((stop_stage == 0)) || require_dir "$exp/data/train" "run stage 1 first"

if in_stage 2 "compute features"; then
  if [[ $feats_type == fbank ]]; then
    for name in "${all_sets[@]}"; do
      steps/compute_fbank.sh "${parallel[@]}" --config "$config" --set "$set" "$exp/data/$name" "$exp/feats/$name"
    done
  else
    log "features are computed on the fly (--feats-type raw)"
  fi
fi

if in_stage 3 "voice activity"; then
  if [[ $use_vad == true ]]; then
    for name in "${all_sets[@]}"; do
      steps/compute_vad.sh "${parallel[@]}" --config "$config" --set "$set" --vad "$vad" \
        "$exp/data/$name" "$exp/vad/$name"
    done
  else
    log "every frame is used (--use-vad false)"
  fi
fi

if in_stage 4 "train"; then
  steps/train.sh --config "$config" --set "$set" --valid-data "$valid_data" --noise-data "$noise_data" \
    --rir-data "$rir_data" --feats-type "$feats_type" --use-vad "$use_vad" --gpus "$gpus" \
    --max-fail-rate "$max_fail_rate" --overwrite "$overwrite" "$exp/data/train" "$exp"
fi

if in_stage 5 "average checkpoints"; then
  steps/average_checkpoints.sh "$exp"
fi

if in_stage 6 "extract embeddings"; then
  for model in "${models[@]}"; do
    for name in "${all_sets[@]:1}"; do # all but train
      steps/extract_embeddings.sh "${parallel[@]}" --gpus "$gpus" --batch-size "$batch_size" \
        --feats-type "$feats_type" --use-vad "$use_vad" \
        "$exp/$model" "$exp/data/$name" "$exp/embeddings/$model/$name"
    done
  done
fi

if in_stage 7 "train the back-end (mean, length normalisation, $scorer)"; then
  for model in "${models[@]}"; do
    steps/train_backend.sh --scorer "$scorer" --lda-dim "$lda_dim" --utt2spk "$exp/data/backend/utt2spk" \
      "$exp/embeddings/$model/backend" "$exp/backend/$model.json"
  done
fi

if in_stage 8 "score trials"; then
  calibrate_on="" && [[ $calibrate == false || -z $valid_data ]] || calibrate_on=valid
  for model in "${models[@]}"; do
    further=() && [[ $model != model ]] || further=(--norm "$norm" --top-n "$top_n" --calibrate-on "$calibrate_on")
    steps/score_sets.sh --backend "$exp/backend/$model.json" "${further[@]}" \
      "$exp/data" "$exp/embeddings/$model" "$exp/scores/$model" "${sets[@]}"
  done
  [[ -z $calibrate_on ]] ||
    steps/calibrate_model.sh "$exp/model" "$exp/embeddings/model/valid" "$exp/data/valid/trials" ||
    log "the model keeps no threshold of its own; verification needs one given" # a network that learned little
fi

if in_stage 9 "metrics and plots"; then
  steps/compute_metrics.sh "$exp/data" "$exp/scores" "$exp/results" "${sets[@]}"
fi
