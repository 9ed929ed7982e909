"""Scoring speed: trials a second in memory and from file to file, beside a loop over pairs; AS-norm; memory.

Shapes: CN-Celeb's 196 models x 17,777 tests, every pair, in order and shuffled; VoxCeleb1-E and -H, 0.58 and
0.55 million pairs among 145 and 137 thousand utterances, grouped by enrolment as those lists are. Embeddings
are random, 192-d. The loops over pairs are 3D-Speaker's (scikit-learn's cosine_similarity per pair) and one
of numpy, on a sample. Everything runs on one thread; times are the processor's, which other programs disturb
less and which leave out waits for the disk; the best of --repeats counts. The peak memory is that of a
process which streams a list (Linux only), and one four times as long.

Example: python benchmarks/score_trials.py --stream-trials 10000000
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speakerlab.backend import score_norm
from speakerlab.backend.scoring import Side, TrialScorer, products
from speakerlab.bin import entry
from speakerlab.data.trials import read_trials
from speakerlab.io import scores

DIM, NUM_ENROLL, NUM_TEST = 192, 196, 17_777
SPARSE = {"VoxCeleb1-E": (580_000, 145_000), "VoxCeleb1-H": (550_000, 137_000)}
NUM_LOOP = 2_000  # pairs of the loops
COHORT, NORM_TESTS, TOP_N = 6_000, 20_000, 300
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Matrix = npt.NDArray[np.float32]


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the best counts")
    parser.add_argument("--stream-trials", type=int, default=2_000_000, help="length of the list on disk")
    parser.add_argument("--scratch", type=Path, help="folder for lists and scores; default: a temporary one")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # list and scores of a streaming process
    return parser


def unit_rows(num: int, seed: int) -> Matrix:
    matrix = np.random.default_rng(seed).standard_normal((num, DIM), dtype=np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def best_of(repeats: int, action: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds)


def row(what: str, num: int, seconds: float, loop_s: float) -> None:
    rate = num / seconds
    print(f"{what:<44} {num:>11,} {seconds:>9.2f} {rate:>13,.0f} {rate * loop_s:>11,.0f}")


def loops(enroll: Matrix, test: Matrix) -> float:
    """Seconds a pair of 3D-Speaker's loop; prints both."""
    from sklearn.metrics.pairwise import cosine_similarity

    pairs = np.random.default_rng(0).integers((len(enroll), len(test)), size=(NUM_LOOP, 2)).tolist()

    def with_sklearn() -> None:
        for a, b in pairs:
            cosine_similarity(enroll[a].reshape(1, -1), test[b].reshape(1, -1))[0][0]

    def with_numpy() -> None:
        for a, b in pairs:
            enroll[a] @ test[b] / (np.linalg.norm(enroll[a]) * np.linalg.norm(test[b]))

    loop_s = best_of(2, with_sklearn) / NUM_LOOP
    row("loop over pairs, scikit-learn (3D-Speaker)", NUM_LOOP, loop_s * NUM_LOOP, loop_s)
    row("loop over pairs, numpy", NUM_LOOP, best_of(2, with_numpy), loop_s)
    return loop_s


def in_memory(repeats: int) -> float:
    enroll, test = unit_rows(NUM_ENROLL, 0), unit_rows(NUM_TEST, 1)
    loop_s = loops(enroll, test)
    rows = np.divmod(np.arange(NUM_ENROLL * NUM_TEST), NUM_TEST)
    row("CN-Celeb, in order", len(rows[0]), best_of(repeats, lambda: products(enroll, test, *rows)), loop_s)
    order = np.random.default_rng(2).permutation(len(rows[0]))
    mixed = rows[0][order], rows[1][order]
    row("CN-Celeb, shuffled", len(order), best_of(repeats, lambda: products(enroll, test, *mixed)), loop_s)
    for name, (num_trials, num_utts) in SPARSE.items():
        matrix, rng = unit_rows(num_utts, 3), np.random.default_rng(4)
        left, right = (
            np.sort(rng.integers(num_utts, size=num_trials)),
            rng.integers(num_utts, size=num_trials),
        )
        row(name, num_trials, best_of(repeats, lambda: products(matrix, matrix, left, right)), loop_s)  # noqa: B023
    return loop_s


def sides() -> tuple[Side, Side]:
    enroll_ids = tuple(f"id{e:05d}-enroll" for e in range(NUM_ENROLL))
    test_ids = tuple(f"id{t % 800:05d}-singing-01-{t:05d}" for t in range(NUM_TEST))
    return Side(enroll_ids, unit_rows(NUM_ENROLL, 0), "e"), Side(test_ids, unit_rows(NUM_TEST, 1), "t")


def write_list(path: Path, num_trials: int) -> None:
    """The CN-Celeb list, or where more are wanted one of further models, of ``num_trials`` lines."""
    _, test = sides()
    with path.open("w") as stream:
        for model in range(-(-num_trials // NUM_TEST)):
            wanted = test.ids[: num_trials - model * NUM_TEST]
            stream.write("".join(f"id{model:05d}-enroll {t} nontarget\n" for t in wanted))


def stream(trials: Path, out: Path) -> None:
    """The child: score a list from file to file, print seconds and peak memory."""
    _, test = sides()
    num_models = 1 + trials.stat().st_size // (NUM_TEST * 50)
    ids = tuple(f"id{model:05d}-enroll" for model in range(num_models))
    scorer = TrialScorer(Side(ids, unit_rows(num_models, 0), "e"), test)
    start = time.process_time()
    with scores.score_writer(out) as writer:
        for block in scorer.stream(trials, out.parent):
            writer.write(*block)
    seconds = time.process_time() - start
    print(seconds, peak_mib())


def peak_mib() -> float:
    """Of this program alone: ru_maxrss would count the parent's, which the child starts from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def on_disk(scratch: Path, num_trials: int, repeats: int, loop_s: float) -> None:
    peaks = {}
    for num in (num_trials // 4, num_trials):
        write_list(scratch / "trials", num)
        command = [sys.executable, __file__, "--child", str(scratch / "trials"), str(scratch / "scores")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peaks[num] = (float(text) for text in done.stdout.split())
        row("streamed, list file to score file", num, seconds, loop_s)
    print("peak memory: " + ", ".join(f"{peak:,.0f} MiB for {num:,} trials" for num, peak in peaks.items()))
    num = min(num_trials, 2_000_000)
    write_list(scratch / "trials", num)
    trials = read_trials(scratch / "trials")
    row("read a trial list", num, best_of(repeats, lambda: read_trials(scratch / "trials")), loop_s)
    stream_of = [sys.executable, __file__, "--child", str(scratch / "trials"), str(scratch / "scores")]
    subprocess.run(stream_of, capture_output=True, check=True)
    row("read its scores", num, best_of(repeats, lambda: scores.read(scratch / "scores", trials)), loop_s)


def normalisation(repeats: int) -> None:
    test = Side(tuple(map(str, range(NORM_TESTS))), unit_rows(NORM_TESTS, 5), "t")
    rows = unit_rows(COHORT, 6)
    cohort = score_norm.Cohort(rows, rows, "cohort")
    one_side = best_of(repeats, lambda: score_norm.measure("t-norm", test, test, cohort))
    adaptive = best_of(repeats, lambda: score_norm.measure("as-norm", test, test, cohort, TOP_N)) / 2
    print(
        f"statistics of {NORM_TESTS:,} x {COHORT:,}: t-norm {one_side:.2f} s, as-norm {adaptive:.2f} s a side"
    )


def main(arguments: argparse.Namespace) -> None:
    if arguments.child:
        stream(*map(Path, arguments.child))
        return
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    print(
        f"{platform.processor() or platform.machine()}, numpy {np.__version__}, {DIM}-d float32, one thread"
    )
    print(f"{'':<44} {'trials':>11} {'seconds':>9} {'trials/s':>13} {'x 3D-Speaker':>11}")
    loop_s = in_memory(arguments.repeats)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        on_disk(Path(folder), arguments.stream_trials, arguments.repeats, loop_s)
    normalisation(arguments.repeats)


if __name__ == "__main__":
    entry.run(main, options())
