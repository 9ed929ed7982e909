"""Hold out speakers of a training set: OUT_TRAIN is the set without them, OUT_VALID a test on them.

Each held-out utterance is cut in two halves, <utt>-a and <utt>-b (below 3 s it stays whole); `trials` pairs
all of them, `trials_same_gender` those of one gender, where spk2gender tells. Women and men are held out in
equal numbers as far as they go. The same seed gives the same files.

Example: python -m speakerlab.bin.make_validation data/train data/train_fit data/valid --num-speakers 20
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from speakerlab.bin import entry
from speakerlab.data.contents import Contents, refuse_same
from speakerlab.data.holdout import hold_out


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("train", type=Path, help="the training data dir, with utt2spk")
    parser.add_argument("out_train", type=Path, help="the same without the held-out speakers")
    parser.add_argument("out_valid", type=Path, help="the held-out speakers")
    parser.add_argument("--num-speakers", type=int, required=True, help="how many to hold out")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Divide ``arguments.train``."""
    refuse_same(arguments.out_train, arguments.train, arguments.out_valid)
    rng = np.random.default_rng(arguments.seed)
    train, valid = hold_out(Contents.load(arguments.train), arguments.num_speakers, rng)
    train.write(arguments.out_train)
    valid.write(arguments.out_valid)
    speakers, utterances = len(train.data.spk2utt()), len(train.data.utterances)
    logging.info("%s: %d utterances of %d speakers", arguments.out_train, utterances, speakers)
    counts = ", ".join(f"{len(trials)} in {name}" for name, trials in valid.trials.items())
    logging.info("%s: %d utterances, trials: %s", arguments.out_valid, len(valid.data.utterances), counts)


if __name__ == "__main__":
    entry.run(main, options())
