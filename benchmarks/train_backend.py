"""Back-ends on synthetic speakers: what each gains, what adaptation gains, and seconds of training.

Speakers and sessions are Gaussian with a few strong directions each, embeddings are float32; the second
domain has another mean and sessions that vary in other directions. Errors are of test speakers: models of one
utterance and of three against every other utterance. EM is timed beside a loop over speakers as in Kaldi,
which inverts a matrix for every number of utterances; both do ten iterations on one thread.

Example: python benchmarks/train_backend.py --dim 192 --num-speakers 1500
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
import numpy.typing as npt

from speakerlab.backend.chain import Backend
from speakerlab.backend.estimation import KALDI_ITERS, kaldi
from speakerlab.backend.statistics import speaker_statistics
from speakerlab.backend.training import Adaptation, Recipe, adapt, train
from speakerlab.bin import entry
from speakerlab.metrics.detection import detection
from speakerlab.types import EmbeddingTable, ScoreTable, SpkId, TrialList, UttId

Matrix = npt.NDArray[np.float64]
NUM_UTTS, NUM_TEST_SPEAKERS, NUM_ENROLL = 10, 60, 3


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--dim", type=int, default=192, help="size of embeddings")
    parser.add_argument("--num-speakers", type=int, default=1500, help="training speakers")
    parser.add_argument("--num-domain-speakers", type=int, default=100, help="speakers to adapt with")
    return parser


@dataclass(frozen=True)
class Domain:
    """How sessions vary and where the mean is; speakers are the same kind everywhere."""

    seed: int
    shift: float
    dim: int

    def draw(self, num_speakers: int, seed: int) -> tuple[EmbeddingTable, dict[UttId, SpkId]]:
        """``NUM_UTTS`` embeddings each of ``num_speakers``."""
        world, sessions = np.random.default_rng(0), np.random.default_rng(self.seed)
        speaker_axes = np.linalg.qr(world.normal(size=(self.dim, self.dim)))[0]
        session_axes = np.linalg.qr(sessions.normal(size=(self.dim, self.dim)))[0]
        mean = self.shift * sessions.normal(size=self.dim) / np.sqrt(self.dim)
        of_speakers, of_sessions = (np.exp(-np.arange(self.dim) * rate / self.dim) for rate in (10, 6))
        rng = np.random.default_rng((seed, self.seed))
        centres = rng.normal(size=(num_speakers, self.dim)) * of_speakers @ speaker_axes.T
        spread = 0.4 + 0.7 * of_sessions
        noise = rng.normal(size=(num_speakers * NUM_UTTS, self.dim)) * spread @ session_axes.T
        ids = tuple(f"s{seed}-{row // NUM_UTTS}-{row % NUM_UTTS}" for row in range(len(noise)))
        matrix = (mean + np.repeat(centres, NUM_UTTS, axis=0) + noise).astype(np.float32)
        return EmbeddingTable(ids, matrix), {UttId(i): SpkId(i.rsplit("-", 1)[0]) for i in ids}


def errors(backend: Backend, table: EmbeddingTable) -> list[str]:
    """EER and minDCF(0.01) with one and with ``NUM_ENROLL`` enrolment utterances, in text."""
    rows = backend.rows(table)
    groups = rows.reshape(NUM_TEST_SPEAKERS, NUM_UTTS, -1)
    cells = []
    for count in (1, NUM_ENROLL):
        models, tests = groups[:, :count].mean(axis=1), groups[:, NUM_ENROLL:].reshape(-1, rows.shape[1])
        enroll = backend.scorer.enroll_factors(models, np.full(len(models), count))
        scores = enroll @ backend.scorer.test_factors(tests).T
        same = np.repeat(np.eye(NUM_TEST_SPEAKERS, dtype=np.int8), NUM_UTTS - NUM_ENROLL, axis=1)
        rows_of, columns_of = (index.ravel().astype(str).tolist() for index in np.indices(scores.shape))
        metrics = detection(ScoreTable(TrialList(rows_of, columns_of, same.ravel()), scores.ravel()))
        cells += [f"{100 * metrics.eer:7.2f}", f"{metrics.min_dcf['0.01']:8.3f}"]
    return cells


def speaker_loop(matrix: Matrix, labels: npt.NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """Ten iterations of Kaldi's EM, speaker by speaker: within- and between-speaker covariance."""
    groups = [matrix[labels == label] for label in np.unique(labels)]
    means = [group.mean(axis=0) for group in groups]
    centre = np.mean(means, axis=0)
    scatter = sum((g - m).T @ (g - m) for g, m in zip(groups, means, strict=True))
    within, between = np.eye(matrix.shape[1]), np.eye(matrix.shape[1])
    for _ in range(KALDI_ITERS):
        within_stats, between_stats = np.array(scatter), np.zeros_like(within)
        inverse, prior = np.linalg.inv(within), np.linalg.inv(between)
        spreads = {n: np.linalg.inv(prior + n * inverse) for n in {len(group) for group in groups}}
        for group, mean in zip(groups, means, strict=True):
            offset, n = mean - centre, len(group)
            spread = spreads[n]
            expected = spread @ (n * inverse @ offset)
            between_stats += spread + np.outer(expected, expected)
            rest = offset - expected
            within_stats += n * (spread + np.outer(rest, rest))
        within, between = within_stats / len(matrix), between_stats / len(groups)
    return within, between


def time_em(table: EmbeddingTable, utt2spk: dict[UttId, SpkId]) -> None:
    matrix, speakers = table.matrix.astype(np.float64), [utt2spk[UttId(i)] for i in table.ids]
    start = time.process_time()
    plda = kaldi(speaker_statistics(matrix, speakers)).plda
    ours = time.process_time() - start
    labels = np.unique(speakers, return_inverse=True)[1]
    start = time.process_time()
    within, between = speaker_loop(matrix, labels)
    loop = time.process_time() - start
    agreement = max(np.abs(plda.within - within).max(), np.abs(plda.between - between).max())
    print(
        f"\n{KALDI_ITERS} iterations of EM on {len(matrix):,} embeddings of {len(set(speakers)):,} speakers"
    )
    print(f"ours {ours:.2f} s, speaker by speaker {loop:.2f} s, ratio {loop / ours:.0f}")
    print(f"greatest difference of a covariance {agreement:.1e}")


def main(arguments: argparse.Namespace) -> None:
    home, away = Domain(1, 0.0, arguments.dim), Domain(2, 2.0, arguments.dim)
    table, utt2spk = home.draw(arguments.num_speakers, 1)
    lda_dim = arguments.dim // 2
    recipes = {
        "cosine": Recipe(),
        "whitening, cosine": Recipe(whiten="zca"),
        "WCCN, cosine": Recipe(wccn=True),
        "LDA, cosine": Recipe(lda_dim=lda_dim),
        "PLDA": Recipe(scorer="plda"),
        "LDA, PLDA": Recipe(lda_dim=lda_dim, scorer="plda"),
        "PLDA of half the rank": Recipe(scorer="plda", plda_rank=lda_dim),
        "LDA, Kaldi's PLDA": Recipe(lda_dim=lda_dim, scorer="kaldi-plda"),
    }
    print(f"{arguments.dim}-d, {platform.processor() or platform.machine()}, 1 thread")
    print(f"{'':28s}{'train s':>8s}  EER % minDCF  (1 utt)   EER % minDCF  ({NUM_ENROLL} utts)")
    test, _ = home.draw(NUM_TEST_SPEAKERS, 2)
    for name, recipe in recipes.items():
        start = time.process_time()
        backend = train(table, utt2spk, recipe)
        seconds = time.process_time() - start
        print(f"{name:28s}{seconds:8.2f}  {'  '.join(errors(backend, test))}")
    backend = train(table, utt2spk, recipes["PLDA"])
    test, _ = away.draw(NUM_TEST_SPEAKERS, 3)
    domain, domain_utt2spk = away.draw(arguments.num_domain_speakers, 4)
    print("\nPLDA in the second domain")
    print(f"{'as it is':38s}{'  '.join(errors(backend, test))}")
    for method in ("mean", "kaldi", "coral", "coral+", "interpolation"):
        adapted = adapt(backend, domain, Adaptation(method), domain_utt2spk)
        print(f"{method:38s}{'  '.join(errors(adapted, test))}")
    time_em(table, utt2spk)


if __name__ == "__main__":
    entry.run(main, options())
