#!/usr/bin/env bash
# Extract the embedding of every utterance of a data dir in parallel: OUT_DIR/embeddings.scp.
# MODEL is a bundle, a model folder or file of another toolkit, or a model id.
# Usage: steps/extract_embeddings.sh [options] MODEL DATA_DIR OUT_DIR
# Example: steps/extract_embeddings.sh --nj 8 --gpus "0 1" exp/first/model data/test exp/first/embeddings/test
. steps/lib/strict.sh || exit 1  # not in the repository root
nj=2  # number of jobs
gpus=auto  # GPUs, jobs take them in turn, e.g. "0 1"; "" runs on the CPU
batch_size=1  # utterances per network call; more pays on a GPU
feats_type=raw  # raw: features from audio; fbank: from feats.scp
use_vad=false  # use only frames that vad.scp calls speech
backend=torch  # torch; onnx (ONNX Runtime) or openvino: CPU only; auto: the fastest here, measured once
precision=fp32  # fp32, or bf16: faster, cosine to fp32 0.999 and more; on a GPU, or with openvino
graph=""  # run this file of "speakerlab export", such as one in int8; with backend onnx, openvino or auto
window_s=0  # cut longer utterances into windows of at most so many seconds; 0 cuts none
max_fail_rate=0  # share of utterances that may fail; they are listed in failures.tsv
overwrite=false  # discard embeddings of another model or other data
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 3)) || usage_error "needs MODEL DATA_DIR OUT_DIR"
. path.sh
. steps/lib/launch.sh
. steps/lib/parallel_step.sh

options=(--model "${arguments[0]}" --batch-size "$batch_size" --feats-type "$feats_type")
options+=(--backend "$backend" --precision "$precision" --window-s "$window_s")
[[ -z $graph ]] || options+=(--graph "$graph")
[[ $use_vad != true ]] || options+=(--use-vad)
run_parallel_step extract_embeddings embeddings "${arguments[@]:1}" "${options[@]}"
