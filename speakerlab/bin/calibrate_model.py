"""Store a calibration in a model bundle: log-likelihood ratios, and the threshold that verification uses.

It is trained on the cosines of the bundle's own embeddings, without a mean subtracted, as verification
compares them. Calibrate on speakers that neither training nor test has. The weights and the hash that
embeddings are known by stay as they are.

Example: python -m speakerlab.bin.calibrate_model --operating-point voxsrc exp/first/model
    exp/first/embeddings/model/dev data/dev/trials
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speakerlab.backend import calibration as backend_calibration
from speakerlab.backend import enrolment
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.backend.chain import Backend
from speakerlab.backend.scoring import TrialScorer
from speakerlab.bin import entry
from speakerlab.bin.train_calibration import logistic, prior, summary
from speakerlab.data.tables import read_trials
from speakerlab.errors import DataError
from speakerlab.io import parts
from speakerlab.io.ark import read_embeddings
from speakerlab.metrics.operating_points import PRESETS, OperatingPoint
from speakerlab.types import ScoreTable, TrialList

if TYPE_CHECKING:
    from speakerlab.hub.conditions import Conditions


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--operating-point",
        default="voxceleb",
        metavar="NAME|P[,C_MISS,C_FA]",
        help=f"application of the threshold: {', '.join(PRESETS)} (the first point of those with several), "
        f"or the prior of a target and the costs of the errors",
    )
    parser.add_argument(
        "--prior",
        type=prior,
        default=backend_calibration.DEFAULT_PRIOR,
        help="effective prior of a target that logistic regression is best at",
    )
    parser.add_argument("model", type=Path, help="bundle")
    parser.add_argument("embeddings_dir", type=Path, help="what steps/extract_embeddings.sh made with it")
    parser.add_argument("trials", type=Path, help="labelled trial list of these utterances")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Train the calibration and store it.

    Raises:
        DataError: no bundle, embeddings of another model, bad trials, a threshold that no cosine reaches.
    """
    from speakerlab.hub import bundle, published
    from speakerlab.hub.calibration import Calibration

    if published.find(arguments.model) is not None:
        copy = f"speakerlab convert {arguments.model} BUNDLE"
        raise DataError(arguments.model, "is a published model, kept as it is", f"calibrate a copy: {copy}")
    point = operating_point(arguments.operating_point)
    content_hash = bundle.content_hash(arguments.model)
    made_from = parts.made_from(arguments.embeddings_dir, "embeddings")
    if made_from.get("model") != content_hash:
        why = f"its embeddings are not of {arguments.model}"
        raise DataError(arguments.embeddings_dir, why, "run steps/extract_embeddings.sh with this model")
    cosines = plain_cosines(arguments.embeddings_dir / "embeddings.scp", arguments.trials)
    trained = logistic(Inputs.of({"cosine": cosines}), arguments.prior)
    (scale,), offset = trained.raw_scales()
    known = trained.provenance
    domain, conditions = _heard_in(arguments.trials, cosines.trials)
    try:
        calibration = Calibration(
            scale=scale,
            offset=offset,
            point_name=arguments.operating_point,
            point=point,
            prior=trained.prior,
            trials=known.trials,
            num_targets=known.num_targets,
            num_nontargets=known.num_nontargets,
            domain=domain or "",
            conditions=conditions,
        )
        calibration.require_threshold(-1.0, 1.0)
    except ValueError as error:
        fix = "choose another --operating-point, or calibrate on other trials"
        raise DataError(arguments.trials, str(error), fix) from error
    bundle.calibrate(arguments.model, calibration.counted(cosines))
    print(f"{arguments.model}: {summary(trained)}; threshold {calibration.threshold:.4f} at {point}")


def _heard_in(trials: Path, pairs: TrialList) -> tuple[str | None, Conditions | None]:
    """Domain of the data dir that ``trials`` lies in, and its recordings' conditions, where it has audio."""
    from speakerlab.data.datadir import DataDir
    from speakerlab.hub.conditions import Conditions

    if not (trials.parent / "wav.scp").is_file():
        return None, None
    data = DataDir.load(trials.parent)
    return data.domain(), Conditions.of_data(data, {*pairs.enroll_ids, *pairs.test_ids})


def plain_cosines(embeddings: Path, trials: Path) -> ScoreTable:
    """Cosines of embeddings as extracted.

    Raises:
        DataError: bad embeddings or trials, an id without embedding.
    """
    backend = Backend.default()
    table = backend.transform(read_embeddings(embeddings))
    enroll, test = enrolment.utterances(table, backend.scorer), enrolment.test_side(table, backend.scorer)
    missing = parts.failures(embeddings.parent).keys() - set(table.ids)
    return TrialScorer(enroll, test).score(read_trials(trials).without(missing))


def operating_point(text: str) -> OperatingPoint:
    """The first point of a preset, or prior and costs.

    Raises:
        DataError: neither.
    """
    if text in PRESETS:
        return PRESETS[text][0]
    try:
        return OperatingPoint(*map(float, text.split(",")))
    except (TypeError, ValueError) as error:
        fix = f"choose {', '.join(PRESETS)}, or write prior or prior,c_miss,c_fa, such as 0.05,1,10"
        raise DataError(f"--operating-point {text}", "no such operating point", fix) from error


if __name__ == "__main__":
    entry.run(main, options())
