"""Train a calibration on a labelled trial list: from scores to log-likelihood ratios, natural log.

Scores of several systems are fused into one; quality measures of the two sides of a trial can stand beside
them. Logistic regression (affine), or pool-adjacent-violators (pav: any rising map; one system, no measures).

Example: python -m speakerlab.bin.train_calibration --measure min-log=data/dev/utt2dur data/dev/trials
    campplus=exp/a/scores/dev ecapa=exp/b/scores/dev exp/fusion/calibration.json
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from speakerlab.backend import calibration, calibration_file, pav, quality
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.bin import entry
from speakerlab.data.tables import read_numbers, read_trials
from speakerlab.errors import DataError
from speakerlab.io import atomic, scores


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("--method", choices=("logistic", "pav"), default="logistic", help="kind of map")
    parser.add_argument(
        "--prior",
        type=prior,
        default=calibration.DEFAULT_PRIOR,
        help="effective prior of a target that logistic regression is best at; 0.5 minimises Cllr",
    )
    add_inputs(parser)
    parser.add_argument("out_file", type=Path, help="calibration to write, JSON")
    return parser


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """What is calibrated, the same for training and use."""
    parser.add_argument(
        "--measure",
        type=_pair,
        action="append",
        default=[],
        metavar="RULE=FILE",
        help=f"quality measure: 'id number' per line for every enrolment and test id, such as utt2dur, and "
        f"what to take of the two: {', '.join(quality.RULES)} (of logarithms); repeat for more. It is known "
        f"as RULE and the file's name, so that training and use find each other's",
    )
    parser.add_argument("trials", type=Path, help="trial list")
    parser.add_argument(
        "systems", type=_pair, nargs="+", metavar="NAME=SCORES", help="a system and its scores of the trials"
    )


def main(arguments: argparse.Namespace) -> None:
    """Write the calibration and say what it does.

    Raises:
        DataError: bad trials, scores or measures; trials of one kind only.
    """
    inputs = read_inputs(arguments)
    trained: calibration_file.Calibration
    if arguments.method == "pav":
        trained = pav_calibration = pav.train(inputs)
        said = f"rising map of {len(set(pav_calibration.llrs))} levels"
    else:
        trained = logistic_calibration = logistic(inputs, arguments.prior)
        said = summary(logistic_calibration)
    atomic.write_text(arguments.out_file, calibration_file.to_json(trained))
    known = trained.provenance
    counts = f"{known.num_targets:,} targets, {known.num_nontargets:,} non-targets"
    print(f"{arguments.out_file}: {said}; {counts}")


def read_inputs(arguments: argparse.Namespace) -> Inputs:
    """The inputs that ``add_inputs`` asked for.

    Raises:
        DataError: a name given twice; a file that cannot be used.
    """
    trials = read_trials(arguments.trials)
    systems = {name: scores.read(Path(path), trials) for name, path in arguments.systems}
    trials = next((table.trials for table in systems.values()), trials)  # without those that have no score
    measures = {}
    for rule, path in arguments.measure:
        if rule not in quality.RULES:
            raise DataError(f"--measure {rule}={path}", "no such rule", f"choose {', '.join(quality.RULES)}")
        name = f"{rule}:{Path(path).name}"
        measures[name] = quality.measure(read_numbers(Path(path)), trials, rule, path)
    for given, named in ((arguments.systems, systems), (arguments.measure, measures)):
        if len(named) < len(given):
            raise DataError(trials.name, "two systems or measures have one name", "give each its own")
    return Inputs.of(systems, measures)


def logistic(inputs: Inputs, effective_prior: float) -> calibration.LogisticCalibration:
    """Logistic regression, with a warning where the trials do not determine it."""
    trained = calibration.train(inputs, effective_prior)
    if trained.is_separated:
        logging.warning(
            "%s: every target is above every non-target, so nothing says how large log-likelihood ratios "
            "are; calibrate on more or harder trials",
            trained.provenance.trials,
        )
    return trained


def summary(trained: calibration.LogisticCalibration) -> str:
    """The map and its cost in words."""
    scales, offset = trained.raw_scales()
    names = (*trained.systems, *trained.measures)
    terms = " ".join(f"{scale:+.5g} * {name}" for name, scale in zip(names, scales, strict=True))
    cost = "Cllr" if trained.prior == 0.5 else f"normalised cost at prior {trained.prior:g}"
    return f"LLR = {offset:.5g} {terms}, {cost} {trained.cost:.4f}"


def prior(text: str) -> float:
    """An effective prior."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not within (0, 1)")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=FILE")
    return name, path


if __name__ == "__main__":
    entry.run(main, options())
