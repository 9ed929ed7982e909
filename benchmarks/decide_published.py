"""Decisions of a published model, at its own threshold, on evaluation sets that its calibration never met.

For each list of trials: EER, false acceptance (FA) and false rejection (FR) at the threshold in percent, and
the cost of the log-likelihood ratios (Cllr) beside its minimum. Recordings with too little speech, or outside
of the calibration, get no decision: they are counted, and their trials left out of FA and FR.

Example: python benchmarks/decide_published.py CORPUS/eval-libri CORPUS/eval-accent
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from speakerlab.bin import session_arguments
from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import read_trials
from speakerlab.hub.load import load_model
from speakerlab.metrics.detection import detection
from speakerlab.pipeline import Pipeline, pipeline
from speakerlab.pipeline.decision import Threshold, judged, threshold_of, unit
from speakerlab.pipeline.embedding import Embedded, embed
from speakerlab.pipeline.sources import find
from speakerlab.types import ScoreTable, TrialList


def rows(folder: Path, network: Pipeline, own: Threshold) -> list[str]:
    """A row of the table for each list of trials in the data dir ``folder``."""
    sources = find(folder / "wav.scp", 16000).sources
    found = dict(zip(sources, embed(list(sources.items()), network.embedder, network.options), strict=True))
    heard = {key: one for key, one in found.items() if isinstance(one, Embedded)}
    undecided = [key for key in found if key not in heard or judged({"": heard[key].heard.speech}, own)[0]]
    places = {key: place for place, key in enumerate(heard)}
    directions = unit(np.stack([one.embedding for one in heard.values()]))
    count = f"{len(undecided)} of {len(found)}"
    return [
        row(f"{folder.name}, {path.name}", read_trials(path), directions, places, own, set(undecided), count)
        for path in DataDir.load(folder).trial_lists()
    ]


def row(
    name: str,
    trials: TrialList,
    directions: np.ndarray,
    places: dict[str, int],
    own: Threshold,
    undecided: set[str],
    count: str,
) -> str:
    """Figures of one list."""
    enroll, test = ([places[key] for key in ids] for ids in (trials.enroll_ids, trials.test_ids))
    cosines = np.einsum("ij,ij->i", directions[enroll], directions[test])
    calibration = own.calibration
    figures = detection(ScoreTable(trials, calibration.scale * cosines + calibration.offset), llr=True)
    pairs = zip(trials.enroll_ids, trials.test_ids, strict=True)
    decided = np.array([not {a, b} & undecided for a, b in pairs])
    accepted, is_target = cosines >= own.score, trials.labels == 1
    false_accept = 100 * accepted[decided & ~is_target].mean()
    false_reject = 100 * (~accepted[decided & is_target]).mean()
    cells = (name, count, f"{100 * figures.eer:.2f}", f"{false_accept:.2f}", f"{false_reject:.2f}")
    return "| " + " | ".join((*cells, f"{figures.cllr:.3f}", f"{figures.min_cllr:.3f}")) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", metavar="DATA_DIR", type=Path, help="data dirs with trials")
    parser.add_argument("--model", default="campplus")
    session_arguments.add(parser)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    network = pipeline(model=model, ngpu=0, running=session_arguments.config(arguments))
    own = threshold_of(model, None)
    print(f"threshold {own.score:.4f}, {own.origin} on {own.calibration.trials}\n")
    print("| list | undecided | EER | FA | FR | Cllr | minCllr |")
    print("|---|---|---|---|---|---|---|")
    for folder in arguments.data:
        print("\n".join(rows(folder, network, own)), flush=True)


if __name__ == "__main__":
    main()
