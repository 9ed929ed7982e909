#!/usr/bin/env bash
# Estimate the back-end on training embeddings: their mean; scoring subtracts it and normalises length.
# Usage: steps/train_backend.sh EMBEDDINGS_DIR OUT_FILE
# Example: steps/train_backend.sh exp/first/embeddings/model/backend exp/first/backend/model.json
. steps/lib/strict.sh
. steps/lib/parse_options.sh
parse_options "$@"
((${#arguments[@]} == 2)) || usage_error "needs EMBEDDINGS_DIR OUT_FILE"
. path.sh
require_file "${arguments[0]}/embeddings.scp" "run steps/extract_embeddings.sh first"
python -m speakerlab.bin.train_backend "${arguments[0]}/embeddings.scp" "${arguments[1]}"
