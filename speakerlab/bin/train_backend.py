"""Estimate the back-end on training embeddings: their mean, which scoring subtracts.

Example: python -m speakerlab.bin.train_backend exp/a/embeddings/train/embeddings.scp exp/a/backend.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from speakerlab.backend.chain import Backend
from speakerlab.backend.cosine import Cosine
from speakerlab.backend.transforms import LengthNorm, centre
from speakerlab.bin import entry
from speakerlab.io.ark import read_embeddings


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("embeddings_scp", type=Path, help="training embeddings")
    parser.add_argument("out_file", type=Path, help="back-end to write, JSON")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the back-end.

    Raises:
        DataError: an embedding that cannot be used.
    """
    table = read_embeddings(arguments.embeddings_scp)
    matrix = table.matrix.astype(np.float64)
    source = f"{len(matrix):,} embeddings of size {matrix.shape[1]}"
    backend = Backend((centre(matrix), LengthNorm()), Cosine(), source)
    backend.save(arguments.out_file)
    print(f"{arguments.out_file}: {backend.describe()}; trained on {source}")


if __name__ == "__main__":
    entry.run(main, options())
