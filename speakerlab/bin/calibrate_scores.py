"""Turn scores into log-likelihood ratios (natural log) with a trained calibration; several systems are fused.

The systems and quality measures must be those of its training, under the same names; labels are not needed.
Beside the scores stands a card OUT.json that says how they came about.

Example: python -m speakerlab.bin.calibrate_scores --measure min-log=data/test/utt2dur
    exp/fusion/calibration.json data/test/trials campplus=exp/a/scores/test ecapa=exp/b/scores/test
    exp/fusion/scores/test
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.backend import calibration_file
from speakerlab.bin import entry
from speakerlab.bin.train_calibration import add_inputs, read_inputs
from speakerlab.io import scores


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("calibration", type=Path, help="what speakerlab.bin.train_calibration wrote")
    add_inputs(parser)
    parser.add_argument("out_scores", type=Path, help="score file to write: enroll test llr")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the log-likelihood ratios.

    Raises:
        DataError: no calibration, other systems or measures than in training, bad trials or scores.
    """
    calibration = calibration_file.load(arguments.calibration)
    table = calibration.llr(read_inputs(arguments), str(arguments.calibration))
    card: dict[str, object] = {
        "llr": True,  # natural log; reports then show Cllr and actDCF
        "trials": str(arguments.trials),
        "systems": dict(arguments.systems),
        "measures": [f"{rule}={path}" for rule, path in arguments.measure],
        "calibration": str(arguments.calibration),
        "calibrated_on": calibration.provenance.trials,
    }
    left_out = sorted(set().union(*(scores.left_out(Path(path)) for _, path in arguments.systems)))
    if left_out:
        card[scores.LEFT_OUT] = left_out
    scores.write(arguments.out_scores, table, card)
    low, high = table.scores.min(), table.scores.max()
    said = f"{len(table.trials):,} log-likelihood ratios from {low:.2f} to {high:.2f}"
    print(f"{arguments.out_scores}: {said}, calibrated on {calibration.provenance.trials}")


if __name__ == "__main__":
    entry.run(main, options())
