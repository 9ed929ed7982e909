"""Check the parts that the workers of a step wrote and publish them as one scp, in key order.

Every utterance of the data dir must be there once or in failures.tsv; the line on stdout counts them.
Example: python -m speakerlab.bin.merge_parts --name embeddings --keys-from data/test exp/x/embeddings/test
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.io.parts import PartStore


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("out_dir", type=Path, help="output folder of the step, which holds parts/")
    parser.add_argument("--name", required=True, help="stem of the output: NAME.scp is published")
    parser.add_argument(
        "--keys-from", type=Path, required=True, help="data dir whose utterances must be there"
    )
    parser.add_argument(
        "--max-fail-rate", type=entry.rate, default=0.0, help="share of utterances that may fail"
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Merge and say how many."""
    store = PartStore(arguments.out_dir, arguments.name, DataDir.load(arguments.keys_from).utt_ids, {})
    summary = store.merge(arguments.max_fail_rate)
    print(f"{summary.scp}: {summary.num_done} done, {summary.num_failed} failed")


if __name__ == "__main__":
    entry.run(main, options())
