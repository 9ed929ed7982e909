"""Put data dirs together; an id that means two things in them is an error.

With --prefix every utterance, recording and speaker id gets the name of its data dir and a hyphen before it.

Example: python -m speakerlab.bin.combine_data data/all data/first data/second --prefix
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.combine import combine, with_prefix
from speakerlab.data.contents import Contents, refuse_same


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("out", type=Path, help="the combined data dir")
    parser.add_argument("data", type=Path, nargs="+", help="the data dirs")
    parser.add_argument("--prefix", action="store_true", help="put '<name of data dir>-' before all ids")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Combine ``arguments.data`` into ``arguments.out``."""
    refuse_same(arguments.out, *arguments.data)
    parts = [Contents.load(path) for path in arguments.data]
    if arguments.prefix:
        parts = [with_prefix(part, f"{part.data.path.resolve().name}-") for part in parts]
    combined = combine(parts)
    combined.write(arguments.out)
    count = len(combined.data.utterances)
    logging.info("%s: %d utterances from %d data dirs", arguments.out, count, len(parts))


if __name__ == "__main__":
    entry.run(main, options())
