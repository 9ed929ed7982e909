"""Error rates of scored trial lists: one table row per system and list, with intervals over speakers.

Example: python -m speakerlab.bin.compute_metrics --utt2spk data/test/utt2spk --plot exp/first/det.png
    --system untrained data/test/trials exp/untrained/scores/trials
    --system trained data/test/trials exp/first/scores/trials
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerlab.bin import entry
from speakerlab.data.tables import read_trials, read_utt2spk
from speakerlab.errors import DataError
from speakerlab.io import atomic, scores
from speakerlab.metrics import det_plot
from speakerlab.metrics.bootstrap import BootstrapIntervals, Interval, speaker_bootstrap
from speakerlab.metrics.detection import DetectionMetrics, detection
from speakerlab.metrics.error_curve import error_curve
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, PRESETS, OperatingPoint, Preset, points_of
from speakerlab.types import ScoreTable, TrialList

BOOTSTRAP_SEED = 0  # the same speakers are drawn for every system of a list


@dataclass(frozen=True)
class Row:
    """One system on one trial list."""

    system: str
    trials: Path
    scores: Path
    table: ScoreTable
    metrics: DetectionMetrics
    intervals: BootstrapIntervals | None


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--system",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "TRIALS", "SCORES"),
        help="a labelled trial list and its scores, in any order; repeat for every row of the table",
    )
    parser.add_argument(
        "--utt2spk",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="speakers of the enrolment and test ids, for the intervals; default: utt2spk beside each list",
    )
    parser.add_argument("--num-draws", type=_positive, default=1000, help="bootstrap draws")
    parser.add_argument(
        "--points",
        nargs="+",
        choices=PRESETS,
        default=list(DEFAULT_PRESETS),
        help="evaluations whose operating points minDCF is computed at",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw a DET plot, one panel per list")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print the table, write the figures, draw the plot.

    Raises:
        DataError: trials and scores that do not match or cannot be measured.
        MissingExtraError: a plot is wanted and matplotlib is missing; the table is printed all the same.
    """
    presets = {name: PRESETS[name] for name in arguments.points}
    points = points_of(presets)
    rows = _measure(arguments.system, arguments.utt2spk, presets, arguments.num_draws)
    titles = _titles(row.trials for row in rows)
    print("\n".join(_aligned([_header(points), *(_cells(row, titles[row.trials]) for row in rows)])))
    print(_legend(rows, arguments.num_draws))
    if arguments.json:
        atomic.write_text(arguments.json, _as_json(rows, points, arguments.num_draws))
    if arguments.plot:
        panels = {
            title: {row.system: error_curve(row.table) for row in rows if row.trials == path}
            for path, title in titles.items()
        }
        figure = det_plot.draw(panels, points)
        with atomic.staged(arguments.plot) as temporary:
            figure.savefig(temporary, format="png")
        print(f"DET plot: {arguments.plot}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _speakers(paths: Sequence[Path]) -> dict[str, str]:
    speakers: dict[str, str] = {}
    for path in paths:
        for utt_id, spk_id in read_utt2spk(path).items():
            if speakers.setdefault(utt_id, spk_id) != spk_id:
                why = f"{utt_id} is speaker {spk_id} here and {speakers[utt_id]} in an earlier file"
                raise DataError(path, why, "give one speaker to each id")
    return speakers


def _speakers_of(path: Path, trials: TrialList, given: Sequence[Path]) -> dict[str, str]:
    """Speakers of the ids of ``trials``: from the files given, else from utt2spk beside it, if any."""
    beside = path.with_name("utt2spk")
    if given or not beside.exists():
        return _speakers(given)
    speakers = _speakers([beside])
    unknown = {*trials.enroll_ids, *trials.test_ids} - speakers.keys()
    if unknown:  # enrolment models, for instance
        logging.warning("%s: no interval, %d ids have no speaker in %s", path, len(unknown), beside)
        return {}
    return speakers


def _measure(
    systems: Sequence[Sequence[str]],
    given: Sequence[Path],
    presets: Mapping[str, Preset],
    num_draws: int,
) -> list[Row]:
    lists = {path: read_trials(path) for path in dict.fromkeys(Path(trials) for _, trials, _ in systems)}
    speakers = {path: _speakers_of(path, trials, given) for path, trials in lists.items()}
    rows: dict[tuple[str, Path], Row] = {}
    for name, trials, score_file in systems:
        key = name, Path(trials)
        if key in rows:
            raise DataError(trials, f"two sets of scores for system '{name}'", "give each --system a name")
        table = scores.read(Path(score_file), lists[key[1]])
        intervals = _intervals(table, speakers[key[1]], presets, num_draws)
        rows[key] = Row(name, key[1], Path(score_file), table, detection(table, presets), intervals)
    return list(rows.values())


def _intervals(
    table: ScoreTable, speakers: Mapping[str, str], presets: Mapping[str, Preset], num_draws: int
) -> BootstrapIntervals | None:
    if not speakers:
        return None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    intervals = speaker_bootstrap(table, speakers, rng, presets, num_draws=num_draws)
    if intervals.num_skipped:
        logging.warning(
            "%s: %d of %d draws of speakers lack targets or non-targets and are left out",
            table.trials.name,
            intervals.num_skipped,
            num_draws,
        )
    return intervals


def _titles(paths: Iterable[Path]) -> dict[Path, str]:
    """Folder and file name of each trial list, or whole paths where those are not unique."""
    titles = {path: f"{path.parent.name}/{path.name}" for path in paths}
    return titles if len(set(titles.values())) == len(titles) else {path: str(path) for path in titles}


def _header(points: Mapping[str, OperatingPoint]) -> list[str]:
    costs = [f"minDCF({point})" for point in points.values()]
    return ["system", "list", "trials", "targets", "EER %", *costs, "threshold"]


def _cells(row: Row, title: str) -> list[str]:
    metrics, intervals = row.metrics, row.intervals
    cells = [row.system, title, str(len(row.table.trials)), str(metrics.num_targets)]
    cells.append(_figure(100 * metrics.eer, intervals.eer if intervals else None, scale=100, digits=2))
    for name, cost in metrics.min_dcf.items():
        cells.append(_figure(cost, intervals.min_dcf[name] if intervals else None, scale=1, digits=3))
    return [*cells, f"{metrics.eer_threshold:.4f}"]


def _figure(value: float, interval: Interval | None, *, scale: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if interval is None:
        return text
    return f"{text} [{scale * interval.low:.{digits}f}, {scale * interval.high:.{digits}f}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the first two columns to the left and the figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _legend(rows: Sequence[Row], num_draws: int) -> str:
    if not any(row.intervals for row in rows):
        return "No intervals: give --utt2spk."
    return f"[low, high]: 95 % interval from {num_draws} bootstrap draws of the speakers."


def _as_json(rows: Sequence[Row], points: Mapping[str, OperatingPoint], num_draws: int) -> str:
    content = {
        "operating_points": {name: dataclasses.asdict(point) for name, point in points.items()},
        "bootstrap": {"num_draws": num_draws, "seed": BOOTSTRAP_SEED, "interval": 0.95},
        "rows": [
            {
                "system": row.system,
                "trials": str(row.trials),
                "scores": str(row.scores),
                **dataclasses.asdict(row.metrics),
                "intervals": dataclasses.asdict(row.intervals) if row.intervals else None,
            }
            for row in rows
        ],
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    entry.run(main, options())
