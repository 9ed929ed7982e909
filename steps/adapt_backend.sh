#!/usr/bin/env bash
# Adapt a back-end to another domain: the mean that is subtracted, and PLDA.
# Usage: steps/adapt_backend.sh [options] BACKEND EMBEDDINGS_DIR OUT_FILE
# Example: steps/adapt_backend.sh --method coral+ exp/first/backend/model.json \
#   exp/first/embeddings/model/unlabelled exp/first/backend/adapted.json
. steps/lib/strict.sh || exit 1  # not in the repository root
method=kaldi  # mean, kaldi, coral, coral+ or interpolation (supervised)
within_scale=""  # of kaldi (0.3 if not given) and coral+ (0.8)
between_scale=""  # of kaldi (0.7 if not given) and coral+ (0.8)
weight=0.5  # of the new domain in interpolation
utt2spk=""  # speakers of the embeddings, for interpolation
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 3)) || usage_error "needs BACKEND EMBEDDINGS_DIR OUT_FILE"
. path.sh
require_file "${arguments[0]}" "run steps/train_backend.sh first"
require_file "${arguments[1]}/embeddings.scp" "run steps/extract_embeddings.sh first"
options=(--method "$method" --weight "$weight")
[[ -z $within_scale ]] || options+=(--within-scale "$within_scale")
[[ -z $between_scale ]] || options+=(--between-scale "$between_scale")
[[ -z $utt2spk ]] || options+=(--utt2spk "$utt2spk")
python -m speakerlab.bin.adapt_backend "${options[@]}" \
  "${arguments[0]}" "${arguments[1]}/embeddings.scp" "${arguments[2]}"
