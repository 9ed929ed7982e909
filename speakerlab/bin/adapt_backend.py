"""Adapt a back-end to another domain: the mean that is subtracted, and PLDA.

Example: python -m speakerlab.bin.adapt_backend --method coral+ exp/a/backend.json
    exp/a/embeddings/unlabelled/embeddings.scp exp/a/backend_adapted.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.backend.chain import Backend
from speakerlab.backend.training import METHODS, Adaptation, adapt
from speakerlab.bin import entry
from speakerlab.data.tables import read_utt2spk
from speakerlab.io.ark import read_embeddings


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="kaldi",
        help="mean: the mean alone; kaldi: as ivector-adapt-plda; coral, coral+: correlation alignment; "
        "interpolation: with a PLDA of the new domain, which needs --utt2spk",
    )
    parser.add_argument("--within-scale", type=float, help="of kaldi (0.3 if not given) and coral+ (0.8)")
    parser.add_argument("--between-scale", type=float, help="of kaldi (0.7 if not given) and coral+ (0.8)")
    parser.add_argument("--weight", type=float, default=0.5, help="of the new domain in interpolation")
    parser.add_argument("--utt2spk", type=Path, help="speakers of the embeddings, for interpolation")
    parser.add_argument("backend", type=Path, help="what train_backend wrote")
    parser.add_argument("embeddings_scp", type=Path, help="embeddings of the new domain")
    parser.add_argument("out_file", type=Path, help="back-end to write")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the adapted back-end.

    Raises:
        DataError: a back-end or embeddings that cannot be used.
    """
    how = Adaptation(arguments.method, arguments.within_scale, arguments.between_scale, arguments.weight)
    utt2spk = read_utt2spk(arguments.utt2spk) if arguments.utt2spk else None
    table = read_embeddings(arguments.embeddings_scp)
    backend = adapt(Backend.load(arguments.backend), table, how, utt2spk)
    backend.save(arguments.out_file)
    print(f"{arguments.out_file}: {backend.describe()}; trained on {backend.source}")


if __name__ == "__main__":
    entry.run(main, options())
