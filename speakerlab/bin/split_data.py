"""Split a data dir into N contiguous shares of its utterances: DATA/split<N>/1 to DATA/split<N>/<N>.

Trials are not split, as their two utterances may be in different shares.

Example: python -m speakerlab.bin.split_data data/train 8
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.contents import Contents
from speakerlab.data.subset import split


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("data", type=Path, help="the data dir")
    parser.add_argument("num_parts", type=int, metavar="N", help="number of shares")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the shares of ``arguments.data``."""
    folder = arguments.data / f"split{arguments.num_parts}"
    for number, part in enumerate(split(Contents.load(arguments.data), arguments.num_parts), 1):
        part.write(folder / str(number))
    logging.info("%s: %d parts", folder, arguments.num_parts)


if __name__ == "__main__":
    entry.run(main, options())
