"""Score a trial list, of any length: "enroll test score" per line, and a card OUT.json that says how.

What is subtracted and normalised and what is compared is the back-end's; by default length-normalised cosine.
Example: python -m speakerlab.bin.score_trials --embeddings exp/first/embeddings/test/embeddings.scp
    --backend exp/first/backend.json data/test/trials exp/first/scores/test_trials
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from speakerlab import logs
from speakerlab.backend import cohort, enrolment, score_norm
from speakerlab.backend.chain import Backend
from speakerlab.backend.scoring import BLOCK_TRIALS, Side, TrialScorer
from speakerlab.bin import entry
from speakerlab.data.datadir import ENROLL_MAP
from speakerlab.data.tables import read_enroll_map, read_utt2spk
from speakerlab.data.trials import trial_blocks
from speakerlab.errors import DataError
from speakerlab.io import parts, scores
from speakerlab.io.ark import read_embeddings
from speakerlab.types import EmbeddingTable


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
        help="'model utt1 utt2 ...' per line: enrolment ids of the trials are models of several utterances "
        "(default: enroll.map beside the trials, if the first trial is of one of its models)",
    )
    rules = "; ".join(f"{name}: {what}" for name, what in enrolment.RULES.items())
    parser.add_argument(
        "--enroll-rule", choices=enrolment.RULES, default="mean-embedding", help=f"score of a model: {rules}"
    )
    parser.add_argument("--backend", type=Path, metavar="FILE", help="what steps/train_backend.sh wrote")
    norm = parser.add_argument_group("score normalisation")
    norm.add_argument("--norm", choices=("none", *score_norm.NORMS), default="none", help="which")
    norm.add_argument(
        "--top-n", type=int, default=300, help="number of cohort scores, the highest ones, used by as-norm"
    )
    norm.add_argument("--cohort", type=Path, metavar="SCP", help="embeddings of impostors, e.g. of training")
    norm.add_argument(
        "--cohort-unit",
        choices=("speaker", "utterance"),
        default="speaker",
        help="whether the mean of each speaker is an impostor, or each utterance",
    )
    norm.add_argument("--cohort-utt2spk", type=Path, metavar="FILE", help="speakers of --cohort")
    norm.add_argument(
        "--utt2spk", type=Path, metavar="FILE", help="speakers of the trials, who are left out of the cohort"
    )
    norm.add_argument(
        "--norm-stats",
        type=Path,
        metavar="FILE",
        help="keep the cohort statistics here; if they are there, use them unless they are of other inputs",
    )
    parser.add_argument("trials", type=Path, help="trial list; labels are not needed")
    parser.add_argument("out_scores", type=Path, help="score file to write")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the scores and their card.

    Raises:
        DataError: bad trials, ids without embedding, an embedding without direction, an unfit cohort.
    """
    backend = Backend.load(arguments.backend) if arguments.backend else Backend.default()
    test_table = backend.transform(read_embeddings(arguments.embeddings))
    enroll_table = test_table
    if arguments.enroll_embeddings:
        enroll_table = backend.transform(read_embeddings(arguments.enroll_embeddings))
    test = enrolment.test_side(test_table, backend.scorer, _missing(arguments.embeddings, test_table))
    enroll, rule = _enroll(arguments, enroll_table, backend)
    norm, said = None, "no score normalisation"
    if arguments.norm != "none":
        impostors = _cohort(arguments, backend, {*test_table.ids, *enroll_table.ids})
        norm = _statistics(arguments, enroll, test, impostors)
        top = f", the highest {arguments.top_n}" if arguments.norm == "as-norm" else ""
        said = f"{arguments.norm} with {impostors.name}{top}"
    card: dict[str, Any] = {
        "trials": str(arguments.trials),
        "embeddings": str(arguments.embeddings),
        "enroll_embeddings": str(arguments.enroll_embeddings or arguments.embeddings),
        "backend": backend.describe(),
        "enrolment": rule,
        "norm": said,
    }
    missing = sorted(one.decode() for one in enroll.missing | test.missing)
    if missing:
        card[scores.LEFT_OUT] = missing
    num_scores = _score(arguments, TrialScorer(enroll, test, norm), card)
    if missing:
        num_trials = sum(len(block.lines) for block in trial_blocks(arguments.trials))
        said += (
            f"; {num_trials - num_scores:,} of {num_trials:,} trials left out, of {len(missing)} missing ids"
        )
    print(f"{arguments.out_scores}: {num_scores:,} scores; {backend.describe()}; {rule}; {said}")


def _missing(scp: Path, table: EmbeddingTable) -> set[str]:
    """The utterances that extraction listed as failed beside ``scp``."""
    return parts.failures(scp.parent).keys() - set(table.ids)


def _score(arguments: argparse.Namespace, scorer: TrialScorer, card: dict[str, Any]) -> int:
    blocks = scorer.stream(arguments.trials, arguments.out_scores.parent)
    with scores.score_writer(arguments.out_scores, card) as writer:
        for block in logs.progress(blocks, "score", _num_blocks(arguments.trials)):
            writer.write(block.enroll_ids, block.test_ids, block.scores)
        if not writer.num_scores:
            raise DataError(arguments.trials, "every trial is of an utterance that has no embedding")
    return writer.num_scores


def _num_blocks(trials: Path) -> int:
    """About how many blocks the list has, if its lines are like the first; 1 if it cannot be read."""
    if not trials.is_file():
        return 1
    with trials.open("rb") as stream:
        return 1 + trials.stat().st_size // (BLOCK_TRIALS * max(1, len(stream.readline())))


def _enroll(arguments: argparse.Namespace, table: EmbeddingTable, backend: Backend) -> tuple[Side, str]:
    """The models, and in words how they were made."""
    path = arguments.enroll_map or _map_beside(arguments.trials)
    missing = _missing(arguments.enroll_embeddings or arguments.embeddings, table)
    if path is None:
        return enrolment.utterances(table, backend.scorer, missing), "models of one utterance"
    enroll_map, rule, name = read_enroll_map(path), arguments.enroll_rule, str(path)
    side = enrolment.models(enroll_map, table, backend.scorer, rule, name, missing)
    sizes = sorted(map(len, enroll_map.values()))
    return side, f"{len(sizes):,} models of {sizes[0]} to {sizes[-1]} utterances, {rule}"


def _map_beside(trials: Path) -> Path | None:
    """The map of the data dir of ``trials``, if the first of them is of a model."""
    path = trials.with_name(ENROLL_MAP)
    if not path.exists():
        return None
    block = next(trial_blocks(trials), None)
    is_of_model = block is not None and block.enroll_ids[0].decode() in read_enroll_map(path)
    return path if is_of_model else None


def _cohort(arguments: argparse.Namespace, backend: Backend, trial_ids: Collection[str]) -> score_norm.Cohort:
    """The impostors, none of whom are known to speak in the trials."""
    if not arguments.cohort:
        raise DataError(f"--norm {arguments.norm}", "needs impostors", "give --cohort SCP")
    by_speaker = arguments.cohort_unit == "speaker"
    if by_speaker and not arguments.cohort_utt2spk:
        fix = "give --cohort-utt2spk FILE, or --cohort-unit utterance"
        raise DataError(arguments.cohort, "speakers of the cohort are not known", fix)
    utt2spk = _speakers(arguments.cohort_utt2spk)
    speakers = {spk_id for utt_id, spk_id in _speakers(arguments.utt2spk).items() if utt_id in trial_ids}
    table = cohort.without_trial_speakers(read_embeddings(arguments.cohort), utt2spk, trial_ids, speakers)
    if by_speaker:
        table = cohort.speaker_means(table, utt2spk)
    name = f"{len(table.ids):,} {arguments.cohort_unit}s of {arguments.cohort}"
    return score_norm.Cohort.of(backend.transform(table), backend.scorer, name)


def _speakers(path: Path | None) -> dict[str, str]:
    """Speakers of utterances; none without a file."""
    return {str(utt_id): str(spk_id) for utt_id, spk_id in read_utt2spk(path).items()} if path else {}


def _statistics(
    arguments: argparse.Namespace, enroll: Side, test: Side, impostors: score_norm.Cohort
) -> score_norm.CohortStatistics:
    """Measured, or read if they were kept."""
    norm, top_n, kept = arguments.norm, arguments.top_n, arguments.norm_stats
    if kept and kept.exists():
        made_from = score_norm.fingerprint(norm, enroll, test, impostors, top_n)
        return score_norm.CohortStatistics.load(kept, made_from)
    statistics = score_norm.measure(norm, enroll, test, impostors, top_n)
    if kept:
        statistics.save(kept)
    return statistics


if __name__ == "__main__":
    entry.run(main, options())
