"""Check a data dir: every fault is a line on stderr that says what to do; exit 1 if there is any.

Where there is none, one line with the counts goes to stdout. Text files are checked against each other,
audio files for being there; --check-audio decodes all of them as training and extraction would. With
--train-data, recordings that training has too are faults; speakers that it has too are warnings.

Example: python -m speakerlab.bin.validate_data data/train --need-speakers --check-audio
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.contents import Contents
from speakerlab.data.datadir import DataDir
from speakerlab.data.faults import Faults
from speakerlab.data.trial_checks import check_overlap
from speakerlab.data.validate import check_audio, validate
from speakerlab.errors import DataError


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("data", type=Path, help="the data dir")
    parser.add_argument("--need-speakers", action="store_true", help="utt2spk must be there")
    parser.add_argument("--need-trials", action="store_true", help="a trial list must be there")
    parser.add_argument(
        "--train-data", type=Path, metavar="DIR", help="data dir of training, to compare with"
    )
    parser.add_argument("--check-audio", action="store_true", help="decode every utterance")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """List the faults of ``arguments.data``, or print its counts.

    Raises:
        DataError: there are faults.
    """
    faults = Faults()
    contents = validate(
        arguments.data, faults, need_speakers=arguments.need_speakers, need_trials=arguments.need_trials
    )
    warnings = Faults()
    if arguments.train_data:
        check_overlap(contents, DataDir.load(arguments.train_data), faults, warnings)
    seconds = check_audio(contents, faults) if arguments.check_audio else None
    for line in warnings.lines():
        print(f"warning: {line}", file=sys.stderr)
    for line in faults.lines():
        print(line, file=sys.stderr)
    if faults:
        raise DataError(arguments.data, f"{len(faults)} fault(s), listed above", "mend them and check again")
    print(_summary(contents, seconds))


def _summary(contents: Contents, seconds: float | None) -> str:
    data = contents.data
    if seconds is None and "utt2dur" in contents.tables:
        seconds = sum(map(float, contents.tables["utt2dur"].values()))
    counts = [
        f"{len(data.utterances)} utterances",
        f"{len(data.spk2utt())} speakers",
        f"{len(data.recordings)} recordings",
        *([f"{seconds / 3600:.2f} hours"] if seconds is not None else []),
        *([f"{len(contents.models)} models"] if contents.models else []),
        *(f"{len(trials)} trials in {name}" for name, trials in contents.trials.items()),
    ]
    return f"{data.path}: valid, {', '.join(counts)}"


if __name__ == "__main__":
    entry.run(main, options())
