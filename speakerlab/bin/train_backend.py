"""Train the back-end: the mean that is subtracted, whitening, LDA, WCCN, and cosine or PLDA, in this order.

Example: python -m speakerlab.bin.train_backend --utt2spk data/train/utt2spk --lda-dim 100 --scorer plda
    exp/a/embeddings/train/embeddings.scp exp/a/backend.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.backend.training import SCORERS, WHITENINGS, Recipe, train
from speakerlab.bin import entry
from speakerlab.data.tables import read_utt2spk
from speakerlab.io.ark import read_embeddings


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("--utt2spk", type=Path, help="speakers of the embeddings, for LDA, WCCN and PLDA")
    parser.add_argument("--whiten", choices=WHITENINGS, default="none", help="whiten all embeddings")
    parser.add_argument("--lda-dim", type=int, default=0, help="dimensions that LDA leaves; 0: no LDA")
    parser.add_argument("--wccn", action="store_true", help="within-class covariance normalisation")
    parser.add_argument(
        "--scorer",
        choices=SCORERS,
        default="cosine",
        help="plda: two-covariance, estimated to convergence; kaldi-plda: estimated and scored as by Kaldi",
    )
    parser.add_argument(
        "--plda-rank",
        type=int,
        default=0,
        help="speaker subspace of plda (simplified PLDA); 0: all dimensions",
    )
    parser.add_argument("embeddings_scp", type=Path, help="training embeddings")
    parser.add_argument("out_file", type=Path, help="back-end to write")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the back-end.

    Raises:
        DataError: an embedding that cannot be used, or data that do not determine what is to be trained.
    """
    recipe = Recipe(
        arguments.whiten, arguments.lda_dim, arguments.wccn, arguments.scorer, arguments.plda_rank
    )
    utt2spk = read_utt2spk(arguments.utt2spk) if arguments.utt2spk else None
    backend = train(read_embeddings(arguments.embeddings_scp), utt2spk, recipe)
    backend.save(arguments.out_file)
    print(f"{arguments.out_file}: {backend.describe()}; trained on {backend.source}")


if __name__ == "__main__":
    entry.run(main, options())
