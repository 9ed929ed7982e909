#!/usr/bin/env bash
# Train the back-end: the mean that is subtracted, whitening, LDA, WCCN, length, then cosine or PLDA, in this order.
# Usage: steps/train_backend.sh [options] EMBEDDINGS_DIR OUT_FILE
# Example: steps/train_backend.sh --utt2spk data/train/utt2spk --lda-dim 100 --scorer plda \
#   exp/first/embeddings/model/backend exp/first/backend/model.json
. steps/lib/strict.sh || exit 1  # not in the repository root
utt2spk=""  # speakers of the embeddings, for LDA, WCCN and PLDA
whiten=none  # none, pca or zca
lda_dim=0  # dimensions that LDA leaves; 0: no LDA
wccn=false  # within-class covariance normalisation
scorer=cosine  # cosine, plda (two-covariance) or kaldi-plda (estimated and scored as by Kaldi)
plda_rank=0  # speaker subspace of plda (simplified PLDA); 0: all dimensions
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 2)) || usage_error "needs EMBEDDINGS_DIR OUT_FILE"
. path.sh
require_file "${arguments[0]}/embeddings.scp" "run steps/extract_embeddings.sh first"
options=(--whiten "$whiten" --lda-dim "$lda_dim" --scorer "$scorer" --plda-rank "$plda_rank")
[[ -z $utt2spk ]] || options+=(--utt2spk "$utt2spk")
[[ $wccn != true ]] || options+=(--wccn)
python -m speakerlab.bin.train_backend "${options[@]}" "${arguments[0]}/embeddings.scp" "${arguments[1]}"
