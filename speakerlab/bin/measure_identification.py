"""Open-set identification, 1:N: the rank-1 rate, and FNIR where a share FPIR of strangers is let in.

SCORES are of every probe (the test ids) against every model of the gallery (the enrolment ids); several
files are rows of one table. A probe without a target trial is a stranger. Scores and lists are read in the
formats of speakerlab metrics.

Example: python -m speakerlab.bin.measure_identification --trials data/test/trials exp/first/scores/trials
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.io import foreign_scores
from speakerlab.metrics.identification import FPIRS, IdentificationMetrics, gallery, identification
from speakerlab.report.tables import Table
from speakerlab.types import TrialList


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="score files")
    parser.add_argument("--trials", type=Path, help="labelled list; default: the labels in SCORES")
    parser.add_argument(
        "--fpir",
        nargs="+",
        type=entry.rate,
        default=list(FPIRS),
        metavar="RATE",
        help="false-positive identification rates",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object by score file, not the table")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print the rates of each score file.

    Raises:
        DataError: files that cannot be read; a probe that is not scored against every model, or has two
            target models; no probe whose speaker is in the gallery.
    """
    trials = foreign_scores.read_trial_list(arguments.trials) if arguments.trials else None
    found = {str(path): _measured(path, trials, arguments.fpir) for path in arguments.scores}
    if arguments.json:
        print(json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}))
        return
    rates = [f"FNIR % at FPIR {100 * fpir:g} %" for fpir in arguments.fpir]
    header = ["scores", "models", "mated probes", "strangers", "rank-1 %", *rates]
    rows = [_row(name, one, len(rates)) for name, one in found.items()]
    print("\n".join(Table("", header, rows, num_names=1).text()))


def _measured(path: Path, trials: TrialList | None, fpirs: list[float]) -> IdentificationMetrics:
    table = foreign_scores.read(path, trials, foreign_scores.recognise(path))
    return identification(*gallery(table), fpirs=fpirs, name=str(path))


def _row(name: str, found: IdentificationMetrics, num_rates: int) -> list[str]:
    counts = [f"{number:,}" for number in (found.gallery_size, found.num_mated, found.num_nonmated)]
    fnirs = [f"{100 * fnir:.2f}" for fnir in found.fnir_at_fpir.values()]
    return [name, *counts, f"{100 * found.rank_1:.2f}", *(fnirs or ["-"] * num_rates)]


if __name__ == "__main__":
    entry.run(main, options())
