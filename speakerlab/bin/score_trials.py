"""Score a trial list: cosine of length-normalised embeddings, written as "enroll test score" per line.

Example: python -m speakerlab.bin.score_trials --embeddings exp/first/embeddings/test/embeddings.scp
    --backend exp/first/backend.json data/test/trials exp/first/scores/test_trials
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from speakerlab.backend import cosine
from speakerlab.backend.chain import Backend
from speakerlab.backend.embeddings import speaker_models
from speakerlab.bin import entry
from speakerlab.data.tables import read_trials, read_two_columns
from speakerlab.io import scores
from speakerlab.io.ark import read_embeddings


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("--embeddings", type=Path, required=True, metavar="SCP", help="test embeddings")
    parser.add_argument(
        "--enroll-embeddings", type=Path, metavar="SCP", help="enrolment embeddings, if not in --embeddings"
    )
    parser.add_argument(
        "--enroll-map",
        type=Path,
        metavar="FILE",
        help="'model utt1 utt2 ...' per line: enrolment ids of the trials are models, each the mean of its "
        "utterances' length-normalised embeddings",
    )
    parser.add_argument("--backend", type=Path, metavar="FILE", help="what steps/train_backend.sh wrote")
    parser.add_argument("trials", type=Path, help="trial list; labels are not needed")
    parser.add_argument("out_scores", type=Path, help="score file to write")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the scores.

    Raises:
        DataError: bad trials, ids without embedding, an embedding without direction.
    """
    trials = read_trials(arguments.trials)
    backend = Backend.load(arguments.backend) if arguments.backend else Backend.default()
    test = backend.transform(read_embeddings(arguments.embeddings))
    enroll = test
    if arguments.enroll_embeddings:
        enroll = backend.transform(read_embeddings(arguments.enroll_embeddings))
    if arguments.enroll_map:
        lists = read_two_columns(arguments.enroll_map)
        enroll_map = {model_id: re.split(r"[ \t]+", utt_ids) for model_id, utt_ids in lists.items()}
        enroll = speaker_models(enroll_map, enroll, str(arguments.enroll_map))
    scores.write(arguments.out_scores, cosine.score(trials, enroll, test))
    print(f"{arguments.out_scores}: {len(trials):,} scores, {backend.describe()}")


if __name__ == "__main__":
    entry.run(main, options())
