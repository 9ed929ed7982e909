"""Estimate the back-end on training embeddings: their mean, which scoring subtracts.

Example: python -m speakerlab.bin.train_backend exp/a/embeddings/train/embeddings.scp exp/a/backend.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.backend.cosine import CosineBackend
from speakerlab.bin import entry
from speakerlab.io import atomic
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
    backend = CosineBackend.train(read_embeddings(arguments.embeddings_scp))
    atomic.write_text(arguments.out_file, backend.to_json())
    print(f"{arguments.out_file}: mean of {backend.num_utts:,} embeddings of size {len(backend.mean)}")


if __name__ == "__main__":
    entry.run(main, options())
