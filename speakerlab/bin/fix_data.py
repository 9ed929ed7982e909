"""Write a repaired copy of a data dir and say on stderr what was changed, with counts.

Repaired is what needs no guess: byte-order marks, line ends, blanks, order, repeated lines, references to
what is not there, utterances that lack a recording, a speaker, or a line in a list that the others are in.
Anything else, such as an id with two values, is an error. Files that are no part of a data dir stay behind.

Example: python -m speakerlab.bin.fix_data data/raw data/train
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.faults import REPAIR
from speakerlab.data.repair import repair


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("data", type=Path, help="the data dir to repair; it is not changed")
    parser.add_argument("out", type=Path, help="the repaired copy")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Repair ``arguments.data`` into ``arguments.out``."""
    faults = repair(arguments.data, arguments.out)
    for fault, count in faults.kinds():
        change = fault.fix.partition(REPAIR)[2]
        place = "" if fault.line is None else f"line {fault.line}: "
        print(f"{fault.path}: {change}: {count} fault(s), the first: {place}{fault.why}", file=sys.stderr)
    print(f"{arguments.out}: {len(faults)} fault(s) repaired", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main, options())
