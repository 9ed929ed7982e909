"""Write the part of a data dir that belongs to some utterances or speakers, listed or drawn at random.

Lists follow; trials with an utterance that is left out go, and the log says how many. Paths in wav.scp
become absolute.

Example: python -m speakerlab.bin.subset_data data/train data/small --num-speakers 20 --seed 1
Example: python -m speakerlab.bin.subset_data data/train data/women --spk-list women.txt
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from speakerlab.bin import entry
from speakerlab.data import subset
from speakerlab.data.contents import Contents


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("data", type=Path, help="the data dir")
    parser.add_argument("out", type=Path, help="the subset")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--utt-list", type=Path, metavar="FILE", help="utterance ids, one per line")
    choice.add_argument("--spk-list", type=Path, metavar="FILE", help="speaker ids, one per line")
    choice.add_argument("--num-utts", type=int, metavar="N", help="so many utterances at random")
    choice.add_argument("--num-speakers", type=int, metavar="N", help="all of so many speakers at random")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the chosen part of ``arguments.data``."""
    contents = Contents.load(arguments.data)
    chosen = _chosen(contents, arguments)
    chosen.write(arguments.out)
    kept, total = len(chosen.data.utterances), len(contents.data.utterances)
    logging.info("%s: %d of %d utterances", arguments.out, kept, total)


def _chosen(contents: Contents, arguments: argparse.Namespace) -> Contents:
    rng = np.random.default_rng(arguments.seed)
    utt_ids = contents.data.utt_ids
    if arguments.utt_list:
        return subset.of_utterances(contents, subset.read_ids(arguments.utt_list, set(utt_ids)))
    if arguments.num_utts is not None:
        return subset.of_utterances(contents, subset.choose(utt_ids, arguments.num_utts, rng, arguments.data))
    speakers = contents.speakers()
    if arguments.spk_list:
        return subset.of_speakers(contents, subset.read_ids(arguments.spk_list, speakers.keys()))
    chosen = subset.choose(list(speakers), arguments.num_speakers, rng, arguments.data)
    return subset.of_speakers(contents, chosen)


if __name__ == "__main__":
    entry.run(main, options())
