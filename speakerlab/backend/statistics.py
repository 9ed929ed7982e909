"""What a set of labelled embeddings says about speakers: means, counts and scatter, all that training needs.

In: matrix and speakers; out: ``SpeakerStatistics``. ``statistics = speaker_statistics(matrix, spk_ids)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from speakerlab.errors import DataError
from speakerlab.types import Float64Array

NAME = "training embeddings"
# An eigenvalue below this share of the greatest is rounding: embeddings are float32.
RANK_TOLERANCE = 1e-10
_BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class SpeakerStatistics:
    """Sufficient statistics of N embeddings of S speakers.

    Attributes:
        counts: int64 [S], how many embeddings each speaker has.
        means: [S, D], their means.
        scatter: [D, D], sum over all embeddings of (x - mean of its speaker)(x - mean of its speaker)^T.
    """

    counts: npt.NDArray[np.int64]
    means: Float64Array
    scatter: Float64Array

    @property
    def num_utts(self) -> int:
        """N."""
        return int(self.counts.sum())

    @property
    def dim(self) -> int:
        """D."""
        return int(self.means.shape[1])

    @property
    def mean(self) -> Float64Array:
        """The mean of all embeddings, [D]."""
        return np.asarray(self.counts @ self.means / self.num_utts)

    @property
    def within(self) -> Float64Array:
        """Pooled covariance around the speakers' means, [D, D]: scatter / N, as Kaldi's LDA has it."""
        return self.scatter / self.num_utts

    @property
    def between(self) -> Float64Array:
        """Covariance of the speakers' means, each as often as it occurs, around the mean, [D, D]."""
        centred = self.means - self.mean
        return np.asarray((centred.T * self.counts) @ centred / self.num_utts)

    def projected(self, matrix: Float64Array) -> SpeakerStatistics:
        """The statistics of the embeddings x turned into ``matrix`` x, [E, D]."""
        return SpeakerStatistics(self.counts, self.means @ matrix.T, matrix @ self.scatter @ matrix.T)

    def check_within(self) -> None:
        """The scatter must have an inverse.

        Raises:
            DataError: a single speaker, too few utterances, or embeddings that do not vary in some direction.
        """
        num_speakers, fix = len(self.counts), "give more utterances, or fewer dimensions with --whiten pca"
        if num_speakers < 2:
            raise DataError(NAME, "are of one speaker", "give utterances of many speakers")
        if self.num_utts - num_speakers < self.dim:
            why = f"{self.num_utts} utterances of {num_speakers} speakers do not determine the"
            raise DataError(NAME, f"{why} within-speaker covariance of {self.dim}-d embeddings", fix)
        eigenvalues = linalg.eigvalsh(self.scatter)
        rank = int((eigenvalues > RANK_TOLERANCE * eigenvalues[-1]).sum())
        if rank < self.dim:
            why = f"within speakers, they vary in {rank} of {self.dim} dimensions only"
            raise DataError(NAME, why, fix)


def speaker_statistics(matrix: Float64Array, spk_ids: Sequence[str]) -> SpeakerStatistics:
    """Statistics of ``matrix`` [N, D], the embeddings of the speakers ``spk_ids`` [N]; speakers are sorted.

    Speakers with one embedding take part: they tell of the spread of speakers, and nothing of that within.

    Raises:
        DataError: no embedding, NaN or Inf, or a number of speakers that is not that of the rows.
    """
    if matrix.ndim != 2 or not matrix.size or len(matrix) != len(spk_ids):
        raise DataError(NAME, f"{len(spk_ids)} speakers for an array {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise DataError(NAME, "have NaN or Inf", "extract them again")
    _, labels, counts = np.unique(np.asarray(spk_ids), return_inverse=True, return_counts=True)
    order = np.argsort(labels, kind="stable")
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(matrix[order], starts, axis=0) / counts[:, None]
    scatter = np.zeros((matrix.shape[1],) * 2)
    for start in range(0, len(matrix), _BLOCK):
        block = order[start : start + _BLOCK]
        centred = matrix[block] - means[labels[block]]
        scatter += centred.T @ centred
    return SpeakerStatistics(counts.astype(np.int64), means, scatter)
