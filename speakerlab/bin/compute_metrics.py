"""Error rates of scored trial lists, one table row per system and list, with intervals over speakers.

Example: speakerlab metrics scores.txt --trials data/test/trials
Example: speakerlab metrics --report exp/first/results/report.html --exp-dir exp/first
    --conditions spk2gender utt2dur:3,6,10
    --system untrained data/test/trials exp/untrained/scores/trials
    --system trained data/test/trials exp/first/scores/trials

Scores of Kaldi, WeSpeaker, 3D-Speaker and the NIST evaluations are read as they are. So are trial lists of
VoxCeleb and NIST keys. Cllr and actDCF need log-likelihood ratios: scores of NIST's form, scores whose card
(SCORES.json) says so, and the systems of --llr.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.errors import DataError
from speakerlab.io import atomic, foreign_scores
from speakerlab.logs import progress
from speakerlab.metrics.operating_points import DEFAULT_PRESETS, PRESETS
from speakerlab.report import as_json, conditions, figures, page, result_tables
from speakerlab.report.evaluation import Row, Settings, compare, measure
from speakerlab.report.experiment import Experiment
from speakerlab.report.inputs import Speakers, System, read_systems


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
    _add_measures(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure here too; -: print them, not the tables"
    )
    parser.add_argument(
        "--plot-dir", type=Path, metavar="DIR", help="draw DET, score, Bayes error and reliability plots"
    )
    parser.add_argument("--report", type=Path, metavar="HTML", help="write one page with everything")
    parser.add_argument(
        "--exp-dir", type=Path, help="experiment whose settings and training the report shows"
    )
    return parser


def _add_measures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num-draws", type=_positive, default=1000, help="bootstrap draws")
    parser.add_argument(
        "--points",
        nargs="+",
        choices=PRESETS,
        default=list(DEFAULT_PRESETS),
        metavar="EVALUATION",
        help=f"evaluations whose operating points are used for minDCF and actDCF: {', '.join(PRESETS)}",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        type=_condition,
        default=[],
        metavar="FILE[:...]",
        help="results by the values of utt2x or spk2x files (a name alone is looked up beside each list), of "
        "numbers in bins (utt2dur:3,6,10), or of columns of a NIST key (key.tsv:gender,num_enroll_segs)",
    )


def main(arguments: argparse.Namespace) -> None:
    """Print the tables, write the figures, the page and the plots.

    Raises:
        DataError: trials and scores that do not match or cannot be measured.
        MissingExtraError: plots are wanted and matplotlib is missing; all else is done before.
    """
    experiment = Experiment.read(arguments.exp_dir) if arguments.exp_dir else None
    with_band = bool(arguments.plot_dir or arguments.report)
    presets = {name: PRESETS[name] for name in arguments.points}
    settings = Settings(presets, arguments.num_draws, with_band)
    speakers = Speakers(tuple(arguments.utt2spk), arguments.spk_from_id)
    scored = read_systems(_systems(arguments), speakers, form=arguments.format, llr=arguments.llr)
    rows = [measure(each, settings) for each in progress(scored, "measured", len(scored))]
    only_json = str(arguments.json) == "-"
    show = _nothing if only_json else _print
    show(result_tables.results(rows, settings).text())
    if any(row.scored.llr for row in rows):
        show(["", *result_tables.calibration(rows, settings).text()])
    comparisons = compare(rows, settings)
    if comparisons:
        show(["", *result_tables.comparisons(comparisons, settings).text()])
    divided = [(each, row.scored) for each in arguments.conditions for row in rows]
    reports = [
        conditions.report(each, one, settings)
        for each, one in progress(divided, "measured by condition", len(divided))
    ]
    for table in result_tables.by_condition(reports, settings):
        show(["", table.title, *table.text()])
    if arguments.json:
        figures_in_json = as_json.dumps(rows, comparisons, reports, settings)
        if only_json:
            print(figures_in_json, end="")
        else:
            atomic.write_text(arguments.json, figures_in_json)
    if arguments.report:
        title = str(arguments.exp_dir or arguments.report.stem)
        contents = page.Contents(title, rows, comparisons, reports, experiment)
        atomic.write_text(arguments.report, page.page(contents, settings))
        show([f"report: {arguments.report}"])
    if arguments.plot_dir:
        _plot(arguments.plot_dir, rows, settings)
        show([f"plots: {arguments.plot_dir}"])


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines))


def _nothing(_: Iterable[str]) -> None:
    pass


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _condition(text: str) -> conditions.Condition:
    try:
        return conditions.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _systems(arguments: argparse.Namespace) -> list[System]:
    """Rows in the order given."""
    found = [System(path.name, arguments.trials, path) for path in arguments.scores]
    found += [System(name, Path(trials), Path(path)) for name, trials, path in arguments.system]
    if not found:
        raise DataError("command line", "no scores to measure", "give SCORES or --system")
    unknown = set(arguments.llr) - {each.name for each in found}
    if unknown:
        names = ", ".join(dict.fromkeys(each.name for each in found))
        raise DataError("--llr", f"no system '{min(unknown)}'", f"the systems are {names}")
    return found


def _plot(folder: Path, rows: Sequence[Row], settings: Settings) -> None:
    """``det.png`` with a panel for each list; the others once for each list, and named after it."""
    _save(figures.det(rows, settings), folder / "det.png")
    titles = list(dict.fromkeys(row.scored.title for row in rows))
    for title in titles:
        suffix = "" if len(titles) == 1 else "_" + title.strip("/").replace("/", "_")
        for picture in figures.of_list([row for row in rows if row.scored.title == title], settings):
            _save(picture, folder / f"{picture.name}{suffix}.png")


def _save(picture: figures.Picture, path: Path) -> None:
    with atomic.staged(path) as temporary:
        picture.figure.savefig(temporary, format="png")


if __name__ == "__main__":
    entry.run(main, options())
