#!/usr/bin/env bash
# Embeddings of a wav.scp in parallel, on CPU processes or GPUs: OUT_DIR/xvector.scp, once every line of WAV_SCP
# is accounted for; the archives it points to are and stay in OUT_DIR/parts. A killed run goes on where it was
# when the same command is run again. Commands in WAV_SCP ("... |") run only if its name ends in .scp or .scp.NUMBER.
# Usage: egs/modelscope/speaker_verification/campplus_zh-cn_16k-common/infer.sh [options] WAV_SCP OUT_DIR
# Example: egs/modelscope/speaker_verification/campplus_zh-cn_16k-common/infer.sh --nj 4 --gpus "0 1" wav.scp out
. steps/lib/strict.sh || { echo "infer.sh: run it from the repository root" >&2; exit 1; }
model=iic/speech_campplus_sv_zh-cn_16k-common  # bundle, other toolkit's model, or model id
nj=4  # number of jobs
gpus=auto  # GPUs, jobs take them in turn, e.g. "0 1"; "" runs on the CPU
batch_size=1  # utterances per network call; more pays on a GPU
backend=torch  # torch; onnx (ONNX Runtime) or openvino: CPU only; auto: the fastest here, measured once
precision=fp32  # fp32, or bf16: on a GPU, or with openvino
graph=""  # run this file of "speakerlab export", such as one in int8; with backend onnx, openvino or auto
max_fail_rate=0  # share of recordings that may fail; they are listed in failures.tsv
overwrite=false  # discard embeddings of another model or list
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 2)) || usage_error "needs WAV_SCP OUT_DIR"
wav_scp=${arguments[0]} out_dir=${arguments[1]}
require_file "$wav_scp" "give a wav.scp"
. path.sh

python -m speakerlab.bin.make_data_dir "$wav_scp" "$out_dir/data"
bash steps/extract_embeddings.sh --nj "$nj" --gpus "$gpus" --batch-size "$batch_size" \
  --backend "$backend" --precision "$precision" --graph "$graph" --max-fail-rate "$max_fail_rate" \
  --overwrite "$overwrite" "$model" "$out_dir/data" "$out_dir"
ln -sfn embeddings.scp "$out_dir/xvector.scp"  # there as long as the list it is of
log "$out_dir/xvector.scp: $(wc -l <"$out_dir/xvector.scp") embeddings"
