"""Seconds and memory of the metrics on a synthetic list of CN-Celeb's shape, beside llreval and 3D-Speaker.

3D-Speaker's compute_score_metrics calls scikit-learn's cosine_similarity once per trial and sorts the scores
once; the loop is timed on a sample of the trials and extrapolated. Every row is a process of its own with one
thread, on the same scores; llreval and ours compute EER (ROCCH), minDCF at 0.01, Cllr and minCllr.
``--large`` adds EER and minDCF of that many scores from plain arrays.

Example: python benchmarks/compute_metrics.py --large 100000000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab.bin import entry

NUM_MODELS = 196  # CN-Celeb.E: 196 speakers against 17,777 utterances of theirs, every pair of them
CN_CELEB_TRIALS = 196 * 17_777
EMBED_DIM = 192
COLUMNS = ("eer", "rocch_eer", "min_dcf", "cllr", "min_cllr")
Measured = tuple[float, dict[str, float]]  # seconds, results


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--num-trials", type=int, default=CN_CELEB_TRIALS, help="length of the list")
    parser.add_argument("--loop-trials", type=int, default=20_000, help="trials that the loop is timed on")
    parser.add_argument("--num-draws", type=int, default=1000, help="bootstrap draws of the speakers")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn; the median counts")
    parser.add_argument("--large", type=int, default=0, metavar="N", help="scores of the large run; 0: none")
    parser.add_argument(
        "--child", nargs=2, help=argparse.SUPPRESS
    )  # one row: its name, the folder of the list
    return parser


def write_list(folder: Path, num_trials: int) -> None:
    """Labels and log-likelihood ratios of every utterance against every model, utterance by utterance."""
    rng = np.random.default_rng(0)
    rows = np.arange(num_trials)
    labels = (rows % NUM_MODELS == rows // NUM_MODELS % NUM_MODELS).astype(np.int8)
    scores = rng.standard_normal(num_trials)
    scores += 3.0 * labels  # EER 6.7 %, as a ResNet34 on CN-Celeb
    np.save(folder / "labels.npy", labels)
    np.save(folder / "scores.npy", 3.0 * scores - 4.5)  # ratios of two such normals


def timed(measure: Callable[[], dict[str, float]]) -> Measured:
    start = time.perf_counter()
    found = measure()
    return time.perf_counter() - start, found


def three_d_speaker_loop(folder: Path, arguments: argparse.Namespace) -> Measured:
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng(0)
    labels = np.load(folder / "labels.npy")
    num_utts = -(-len(labels) // NUM_MODELS)
    models = {
        f"m{row}": one for row, one in enumerate(rng.standard_normal((NUM_MODELS, EMBED_DIM), np.float32))
    }
    utts = {f"t{row}": one for row, one in enumerate(rng.standard_normal((num_utts, EMBED_DIM), np.float32))}
    pairs = [
        (f"m{row % NUM_MODELS}", f"t{row // NUM_MODELS}")
        for row in range(min(arguments.loop_trials, len(labels)))
    ]

    def loop() -> dict[str, float]:
        for model, utt in pairs:
            cosine_similarity(models[model].reshape(1, -1), utts[utt].reshape(1, -1))[0][0]
        return {}

    seconds, _ = timed(loop)
    return seconds * len(labels) / len(pairs), {}


def nist_script(folder: Path, _: argparse.Namespace) -> Measured:
    labels, scores = np.load(folder / "labels.npy"), np.load(folder / "scores.npy")

    def measure() -> dict[str, float]:
        is_target = labels[np.argsort(scores, kind="mergesort")] == 1
        fnr = np.cumsum(is_target) / is_target.sum()
        fpr = 1 - np.cumsum(~is_target) / (~is_target).sum()
        at = int(np.flatnonzero(fnr >= fpr)[0])
        slope = (fnr[at] - fnr[at - 1]) / (fnr[at] - fpr[at] - (fnr[at - 1] - fpr[at - 1]))
        eer = fnr[at - 1] + slope * (fpr[at - 1] - fnr[at - 1])
        return {"eer": eer, "min_dcf": float(np.min(fnr + 99 * fpr))}

    return timed(measure)


def llreval(folder: Path, _: argparse.Namespace) -> Measured:
    from llreval.cllr import cllr, min_cllr
    from llreval.pav_rocch import PAV, ROCCH

    labels, scores = np.load(folder / "labels.npy"), np.load(folder / "scores.npy")

    def measure() -> dict[str, float]:
        pav = PAV(scores, labels.astype(np.int64))
        hull = ROCCH(pav)
        dcf = hull.Bayes_error_rate(-np.log(99)) / 0.01
        bits = cllr(scores[labels == 1], scores[labels == 0])
        return {"rocch_eer": hull.EER(), "min_dcf": dcf, "cllr": bits, "min_cllr": min_cllr(pav)}

    return timed(measure)


def ours(folder: Path, _: argparse.Namespace) -> Measured:
    from speakerlab.metrics.detection import detection
    from speakerlab.metrics.operating_points import PRESETS
    from speakerlab.metrics.sorted_scores import sort_scores

    labels, scores = np.load(folder / "labels.npy"), np.load(folder / "scores.npy")

    def measure() -> dict[str, float]:
        known = sort_scores(scores[labels == 1], scores[labels == 0], in_place=True)
        found = detection(known, {"cnceleb": PRESETS["cnceleb"]}, llr=True)
        return {**{name: getattr(found, name) for name in COLUMNS}, "min_dcf": found.min_dcf["0.01"]}

    return timed(measure)


def _table(folder: Path) -> tuple[Any, dict[str, str]]:
    from speakerlab.types import ScoreTable, TrialList

    labels, scores = np.load(folder / "labels.npy"), np.load(folder / "scores.npy")
    num_utts = -(-len(labels) // NUM_MODELS)
    models = [f"m{row}" for row in range(NUM_MODELS)]
    utts = [f"t{row}" for row in range(num_utts)]
    enroll_ids = (models * num_utts)[: len(labels)]
    test_ids = [utt for utt in utts for _ in range(NUM_MODELS)][: len(labels)]
    speakers = {i: f"s{int(i[1:]) % NUM_MODELS}" for i in (*models, *utts)}
    return ScoreTable(TrialList(enroll_ids, test_ids, labels), scores), speakers


def our_table(folder: Path, _: argparse.Namespace) -> Measured:
    from speakerlab.metrics.detection import detection
    from speakerlab.metrics.operating_points import PRESETS

    table, _speakers = _table(folder)

    def measure() -> dict[str, float]:
        found = detection(table, {"cnceleb": PRESETS["cnceleb"]}, llr=True)
        return {**{name: getattr(found, name) for name in COLUMNS}, "min_dcf": found.min_dcf["0.01"]}

    return timed(measure)


def our_intervals(folder: Path, arguments: argparse.Namespace) -> Measured:
    from speakerlab.metrics.bootstrap import speaker_bootstrap
    from speakerlab.metrics.operating_points import PRESETS

    table, speakers = _table(folder)
    presets = {"cnceleb": PRESETS["cnceleb"]}

    def measure() -> dict[str, float]:
        rng = np.random.default_rng(0)
        speaker_bootstrap(table, speakers, rng, presets, llr=True, num_draws=arguments.num_draws)
        return {}

    return timed(measure)


def voxceleb_intervals(_: Path, arguments: argparse.Namespace) -> Measured:
    """A list of VoxCeleb1-O's shape: 40 speakers, 4,708 utterances, 37,720 trials, half of them targets."""
    from speakerlab.metrics.bootstrap import speaker_bootstrap
    from speakerlab.metrics.operating_points import PRESETS
    from speakerlab.types import ScoreTable, TrialList

    rng = np.random.default_rng(0)
    first, second = np.triu_indices(4708, 1)
    is_target = first % 40 == second % 40
    kinds = np.flatnonzero(is_target), np.flatnonzero(~is_target)
    rows = np.concatenate([rng.choice(kind, 18_860, replace=False) for kind in kinds])
    ids = [f"t{utt}" for utt in range(4708)]
    sides = ([ids[utt] for utt in side[rows]] for side in (first, second))
    trials = TrialList(*sides, is_target[rows].astype(np.int8))
    table = ScoreTable(trials, rng.standard_normal(len(rows)) + 4.6 * is_target[rows])  # EER 1.1 %
    speakers = {i: f"s{utt % 40}" for utt, i in enumerate(ids)}
    presets = {"voxceleb": PRESETS["voxceleb"]}

    def measure() -> dict[str, float]:
        rng = np.random.default_rng(0)
        speaker_bootstrap(table, speakers, rng, presets, llr=True, num_draws=arguments.num_draws)
        return {}

    return timed(measure)


def large(dtype: Any) -> Callable[[Path, argparse.Namespace], Measured]:
    def run(_: Path, arguments: argparse.Namespace) -> Measured:
        from speakerlab.metrics.error_curve import equal_error_rate, error_curve
        from speakerlab.metrics.operating_points import PRESETS
        from speakerlab.metrics.sorted_scores import sort_scores

        rng = np.random.default_rng(0)
        targets = rng.standard_normal(arguments.large // 100, dtype=dtype)
        targets += dtype(3.0)
        nontargets = rng.standard_normal(arguments.large - len(targets), dtype=dtype)

        def measure() -> dict[str, float]:
            curve = error_curve(sort_scores(targets, nontargets, in_place=True))
            p_miss, p_fa = curve.p_miss, curve.p_fa
            dcf = float(PRESETS["cnceleb"][0].cost(p_miss, p_fa).min())
            return {"eer": float(equal_error_rate(p_miss, p_fa)), "min_dcf": dcf}

        return timed(measure)

    return run


ROWS: dict[str, Callable[[Path, argparse.Namespace], Measured]] = {
    "3D-Speaker: loop over trials": three_d_speaker_loop,
    "3D-Speaker: metrics (NIST's script)": nist_script,
    "llreval": llreval,
    "ours, from arrays": ours,
    "ours, from a table": our_table,
    "ours, intervals of all metrics": our_intervals,
    "ours, intervals, VoxCeleb1-O's shape": voxceleb_intervals,
    "ours, large, float32": large(np.float32),
    "ours, large, float64": large(np.float64),
}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_child(arguments: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, str(folder)]
    for option in ("loop_trials", "num_draws", "large"):
        command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: argparse.Namespace) -> None:
    if arguments.child:
        seconds, found = ROWS[arguments.child[0]](Path(arguments.child[1]), arguments)
        print(json.dumps({"seconds": seconds, "peak": peak_mib(), **found}))
        return
    names = [name for name in ROWS if arguments.large or "large" not in name]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_list(folder, arguments.num_trials)
        for _ in range(arguments.repeats):
            for name in names:
                runs[name].append(run_child(arguments, name, folder))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread per process;")
    print(
        f"{arguments.num_trials} trials, median of {arguments.repeats} runs; memory is that of the process;"
    )
    print(f"the loop: {arguments.loop_trials} trials, extrapolated; intervals: {arguments.num_draws} draws;")
    print(f"large: {arguments.large} scores" if arguments.large else "no large run")
    print_table(runs)


def print_table(runs: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{'':36}{'seconds':>9}{'peak MiB':>10}" + "".join(f"{column:>11}" for column in COLUMNS))
    for name, measured in runs.items():
        median = sorted(measured, key=lambda one: float(one["seconds"]))[len(measured) // 2]
        results = [f"{median[column]:11.6f}" if column in median else f"{'':11}" for column in COLUMNS]
        print(f"{name:36}{median['seconds']:9.2f}{median['peak']:10.0f}" + "".join(results))


if __name__ == "__main__":
    entry.run(main, options())
