"""Make a Kaldi data dir of a bare wav.scp: paths become absolute, nothing else is known.

The list may have any name; if it holds commands ("... |"), its name must end in .scp or .scp.NUMBER.

Example: python -m speakerlab.bin.make_data_dir recordings.scp outputs/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.tables import read_wav_scp, refuse_commands, write_table


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("wav_scp", type=Path, help="the list of recordings")
    parser.add_argument("out_dir", type=Path, help="the data dir")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write ``wav.scp`` in key order.

    Raises:
        DataError: a bad list, or commands in a list of another name than ``*.scp``.
    """
    found = read_wav_scp(arguments.wav_scp)
    refuse_commands(arguments.wav_scp, found)
    recordings = sorted(found.items())
    write_table(arguments.out_dir / "wav.scp", ((str(key), one.written) for key, one in recordings))


if __name__ == "__main__":
    entry.run(main, options())
