"""Make a Kaldi data dir of a bare wav.scp, whatever its name: paths become absolute, nothing else is known.

Example: python -m speakerlab.bin.make_data_dir recordings.scp outputs/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.tables import read_wav_scp, write_table


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("wav_scp", type=Path, help="the list of recordings")
    parser.add_argument("out_dir", type=Path, help="the data dir")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write ``wav.scp`` in key order."""
    recordings = sorted(read_wav_scp(arguments.wav_scp).items())
    write_table(arguments.out_dir / "wav.scp", ((str(key), one.source) for key, one in recordings))


if __name__ == "__main__":
    entry.run(main, options())
