"""Error rates of scored trial lists, one table row per system and list, with intervals over speakers.

Example: python -m speakerlab.bin.compute_metrics scores.txt --trials data/test/trials
Example: python -m speakerlab.bin.compute_metrics --report exp/first/results/report.html --exp-dir exp/first
    --conditions spk2gender utt2dur:3,6,10
    --system untrained data/test/trials exp/untrained/scores/trials
    --system trained data/test/trials exp/first/scores/trials

Scores of Kaldi, WeSpeaker, 3D-Speaker and the NIST evaluations are read as they are, trial lists of VoxCeleb
and NIST keys too. Scores are log-likelihood ratios, with Cllr and actDCF, if they are NIST's or their card
(SCORES.json) or --llr says so.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.tables import read_utt2spk
from speakerlab.errors import DataError
from speakerlab.io import atomic, foreign_scores
from speakerlab.logs import progress
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, PRESETS
from speakerlab.report import as_json, conditions, figures, page, result_tables
from speakerlab.report.evaluation import Row, Scored, Settings, compare, measure
from speakerlab.report.experiment import Experiment
from speakerlab.types import TrialList


@dataclass(frozen=True)
class _System:
    """One row of the table as the command line names it; ``trials`` None where the scores carry labels."""

    name: str
    trials: Path | None
    scores: Path


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "scores", nargs="*", type=Path, metavar="SCORES", help="score files; their names name the systems"
    )
    parser.add_argument(
        "--trials", type=Path, help="trial list of SCORES; default: the labels in these files"
    )
    parser.add_argument(
        "--system",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "TRIALS", "SCORES"),
        help="a labelled trial list and its scores, in any order; repeat for every row of the table",
    )
    parser.add_argument(
        "--format", choices=foreign_scores.FORMATS, help="format of the scores; default: by content"
    )
    parser.add_argument(
        "--utt2spk",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="speakers of the enrolment and test ids, for the intervals; default: utt2spk beside each list",
    )
    parser.add_argument(
        "--spk-from-id",
        metavar="SEPARATOR",
        help="the speaker is the part of an id before the first SEPARATOR, such as / in VoxCeleb's lists",
    )
    parser.add_argument(
        "--llr", nargs="+", default=[], metavar="NAME", help="systems whose scores are log-likelihood ratios"
    )
    parser.add_argument("--num-draws", type=_positive, default=1000, help="bootstrap draws")
    parser.add_argument(
        "--points",
        nargs="+",
        choices=PRESETS,
        default=list(DEFAULT_PRESETS),
        metavar="EVALUATION",
        help=f"whose operating points the costs are computed at: {', '.join(PRESETS)}",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        type=_condition,
        default=[],
        metavar="FILE[:EDGES]",
        help="results by the values of utt2x or spk2x files (a name alone is looked up beside each list), "
        "numbers by bins that EDGES divide, e.g. utt2dur:3,6,10",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    parser.add_argument(
        "--plot-dir", type=Path, metavar="DIR", help="draw DET, score, Bayes error and reliability plots"
    )
    parser.add_argument("--report", type=Path, metavar="HTML", help="write one page with everything")
    parser.add_argument(
        "--exp-dir", type=Path, help="experiment whose settings and training the report shows"
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print the tables, write the figures, the page and the plots.

    Raises:
        DataError: trials and scores that do not match or cannot be measured.
        MissingExtraError: plots are wanted and matplotlib is missing; all else is done before.
    """
    with_band = bool(arguments.plot_dir or arguments.report)
    presets = {name: PRESETS[name] for name in arguments.points}
    settings = Settings(presets, arguments.num_draws, with_band)
    scored = _read(arguments)
    rows = [measure(each, settings) for each in progress(scored, "measured", len(scored))]
    _print(result_tables.results(rows, settings).text())
    if any(row.scored.llr for row in rows):
        _print(["", *result_tables.calibration(rows, settings).text()])
    comparisons = compare(rows, settings)
    if comparisons:
        _print(["", *result_tables.comparisons(comparisons, settings).text()])
    divided = [(each, row.scored) for each in arguments.conditions for row in rows]
    reports = [
        conditions.report(each, one, settings)
        for each, one in progress(divided, "measured by condition", len(divided))
    ]
    for table in result_tables.by_condition(reports, settings):
        _print(["", table.title, *table.text()])
    if arguments.json:
        atomic.write_text(arguments.json, as_json.dumps(rows, comparisons, reports, settings))
    if arguments.report:
        experiment = Experiment.read(arguments.exp_dir) if arguments.exp_dir else None
        title = str(arguments.exp_dir or arguments.report.stem)
        contents = page.Contents(title, rows, comparisons, reports, experiment)
        atomic.write_text(arguments.report, page.page(contents, settings))
        print(f"report: {arguments.report}")
    if arguments.plot_dir:
        _plot(arguments.plot_dir, rows, settings)


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _condition(text: str) -> conditions.Condition:
    try:
        return conditions.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: edges are rising numbers ({error})") from None


def _systems(arguments: argparse.Namespace) -> list[_System]:
    """Rows in the order given, each name and list once."""
    found = [_System(path.name, arguments.trials, path) for path in arguments.scores]
    found += [_System(name, Path(trials), Path(path)) for name, trials, path in arguments.system]
    if not found:
        raise DataError("command line", "no scores to measure", "give SCORES or --system")
    seen: set[tuple[str, Path]] = set()
    for each in found:
        key = each.name, each.trials or each.scores
        if key in seen:
            raise DataError(
                key[1], f"two sets of scores for system '{each.name}'", "give each --system a name"
            )
        seen.add(key)
    unknown = set(arguments.llr) - {each.name for each in found}
    if unknown:
        names = ", ".join(dict.fromkeys(each.name for each in found))
        raise DataError("--llr", f"no system '{min(unknown)}'", f"the systems are {names}")
    return found


def _read(arguments: argparse.Namespace) -> list[Scored]:
    systems = _systems(arguments)
    titles = _titles(each.trials or each.scores for each in systems)
    lists = {path: foreign_scores.read_trial_list(path) for each in systems if (path := each.trials)}
    speakers: dict[Path, Mapping[str, str]] = {}
    scored = []
    for each in systems:
        trials = lists[each.trials] if each.trials else None
        form = arguments.format or foreign_scores.recognise(each.scores)
        table = foreign_scores.read(each.scores, trials, form)
        path = each.trials or each.scores
        if path not in speakers:
            speakers[path] = _speakers_of(path, table.trials, arguments)
        llr = each.name in arguments.llr or form == "nist" or _card_says_llr(each.scores)
        scored.append(Scored(each.name, titles[path], path, each.scores, table, llr, speakers[path]))
    return scored


def _card_says_llr(path: Path) -> bool:
    """Whether the card beside the scores says that they were calibrated."""
    card = path.with_name(f"{path.name}.json")
    if not card.exists():
        return False
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(card, f"not JSON: {error}", "score the list again") from error
    return isinstance(content, dict) and content.get("llr") is True


def _speakers(paths: Sequence[Path]) -> dict[str, str]:
    speakers: dict[str, str] = {}
    for path in paths:
        for utt_id, spk_id in read_utt2spk(path).items():
            if speakers.setdefault(utt_id, spk_id) != spk_id:
                why = f"{utt_id} is speaker {spk_id} here and {speakers[utt_id]} in an earlier file"
                raise DataError(path, why, "give one speaker to each id")
    return speakers


def _speakers_of(path: Path, trials: TrialList, arguments: argparse.Namespace) -> dict[str, str]:
    """Speakers of the ids of ``trials``: derived, from the files given, or from utt2spk beside it."""
    ids = {*trials.enroll_ids, *trials.test_ids}
    if arguments.spk_from_id:
        return {i: _first_part(i, arguments.spk_from_id, path) for i in ids}
    beside = path.with_name("utt2spk")
    if arguments.utt2spk or not beside.exists():
        known = _speakers(arguments.utt2spk)
        return {i: spk_id for i, spk_id in known.items() if i in ids} if known.keys() >= ids else known
    speakers = _speakers([beside])
    unknown = ids - speakers.keys()
    if unknown:  # enrolment models, for instance
        logging.warning("%s: no interval, %d ids have no speaker in %s", path, len(unknown), beside)
        return {}
    return {i: speakers[i] for i in ids}


def _first_part(utt_id: str, separator: str, path: Path) -> str:
    speaker, found, _ = utt_id.partition(separator)
    if not found:
        raise DataError(
            path, f"no '{separator}' in the id '{utt_id}'", "give another --spk-from-id, or --utt2spk"
        )
    return speaker


def _titles(paths: Iterable[Path]) -> dict[Path, str]:
    """Folder and file name of each trial list, or whole paths where those are not unique."""
    titles = {path: f"{path.parent.name}/{path.name}" for path in paths}
    return titles if len(set(titles.values())) == len(titles) else {path: str(path) for path in titles}


def _plot(folder: Path, rows: Sequence[Row], settings: Settings) -> None:
    """``det.png`` with a panel for each list; the others once for each list, and named after it."""
    _save(figures.det(rows, settings), folder / "det.png")
    titles = list(dict.fromkeys(row.scored.title for row in rows))
    for title in titles:
        suffix = "" if len(titles) == 1 else "_" + title.strip("/").replace("/", "_")
        for picture in figures.of_list([row for row in rows if row.scored.title == title], settings):
            _save(picture, folder / f"{picture.name}{suffix}.png")
    print(f"plots: {folder}")


def _save(picture: figures.Picture, path: Path) -> None:
    with atomic.staged(path) as temporary:
        picture.figure.savefig(temporary, format="png")


if __name__ == "__main__":
    entry.run(main, options())
