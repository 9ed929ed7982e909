"""Score normalisation against a cohort of impostors: Z-, T-, S- and adaptive S-norm, of any scorer.

In: the two sides of the trials, a ``Cohort``; out: ``CohortStatistics``, which turn scores into normalised
ones. ``TrialScorer(enroll, test, measure("as-norm", enroll, test, cohort, top_n=300))``.

With mu and sigma the mean and standard deviation (divisor N) of an identity's scores against the cohort:

- z-norm: (s - mu_enroll) / sigma_enroll; t-norm: (s - mu_test) / sigma_test. Auckenthaler, Carey and
  Lloyd-Thomas, "Score normalization for text-independent speaker verification systems", DSP 10, 2000.
- s-norm: the mean of the two. Kenny, "Bayesian speaker verification with heavy-tailed priors", Odyssey 2010.
- as-norm: s-norm in which each side's mu and sigma are those of its ``top_n`` highest cohort scores. Cumani
  et al., "Comparison of speaker recognition approaches for real applications", Interspeech 2011; adaptive
  S-norm 1 of Matejka et al., "Analysis of score normalization in multilingual speaker recognition",
  Interspeech 2017; what WeSpeaker computes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speakerlab.backend.chain import Scorer
from speakerlab.backend.enrolment import test_side, utterances
from speakerlab.backend.scoring import Factors, Rows, Side
from speakerlab.errors import DataError
from speakerlab.io import array_file
from speakerlab.types import EmbeddingTable, Float64Array

KIND = "cohort statistics"
NORMS = ("z-norm", "t-norm", "s-norm", "as-norm")
_SIDES = {
    "z-norm": ("enroll",),
    "t-norm": ("test",),
    "s-norm": ("enroll", "test"),
    "as-norm": ("enroll", "test"),
}
BLOCK_CELLS = 1 << 22  # cohort scores held at once: 16 MB, 32 MB in double precision
LEAST_STD = 1e-6  # of the scores' magnitude: below it a deviation is rounding


@dataclass(frozen=True, eq=False)
class Cohort:
    """Impostors.

    Attributes:
        enroll_factors: [C, K], the cohort as models, which test utterances are compared with.
        test_factors: [C, K], the cohort as test utterances, which models are compared with.
        name: what it is, for messages and cards.
    """

    enroll_factors: Factors
    test_factors: Factors
    name: str

    @classmethod
    def of(cls, table: EmbeddingTable, scorer: Scorer, name: str) -> Cohort:
        """Each embedding in ``table``, as the back-end left them, is one impostor."""
        enroll, test = utterances(table, scorer), test_side(table, scorer)
        return cls(enroll.factors, test.factors, name)


@dataclass(frozen=True, eq=False)
class SideStatistics:
    """Scores against the cohort: ``mean`` and ``std``, float64 [M], of the M ``ids`` of one side."""

    ids: tuple[str, ...]
    mean: Float64Array
    std: Float64Array

    def standardised(self, scores: Float64Array, rows: Rows) -> Float64Array:
        """``scores`` [n] of the ids numbered ``rows`` [n], in deviations from the mean."""
        return np.asarray((scores - self.mean[rows]) / self.std[rows])


@dataclass(frozen=True, eq=False)
class CohortStatistics:
    """A normalisation: the statistics of the sides it needs, and what they were made from."""

    enroll: SideStatistics | None
    test: SideStatistics | None
    made_from: Mapping[str, str]

    def __call__(self, scores: Float64Array, enroll_rows: Rows, test_rows: Rows) -> Float64Array:
        """Normalised scores, float64 [n], of n pairs of an enrolment and a test number."""
        terms = []
        if self.enroll is not None:
            terms.append(self.enroll.standardised(scores, enroll_rows))
        if self.test is not None:
            terms.append(self.test.standardised(scores, test_rows))
        return np.asarray(sum(terms) / len(terms))

    def save(self, path: Path) -> None:
        """Publish as ``path``, every number exactly."""
        content: dict[str, Any] = {"made_from": dict(self.made_from)}
        for name, side in (("enroll", self.enroll), ("test", self.test)):
            content[name] = None if side is None else dataclasses.asdict(side)
        array_file.write(path, KIND, content)

    @classmethod
    def load(cls, path: Path, made_from: Mapping[str, str] | None = None) -> CohortStatistics:
        """The statistics in ``path``.

        Args:
            path: what ``save`` wrote.
            made_from: ``fingerprint`` of what they must have been made from; None accepts any.

        Raises:
            DataError: not such a file, or made from something else; the message says what changed.
        """
        content = array_file.read(path, KIND, "remove it and score again")
        found, expected = content["made_from"], made_from or {}
        changed = [key for key, value in expected.items() if found.get(key) != value]
        if changed:
            what = ", ".join(f"{key} (was {found.get(key)}, is {expected[key]})" for key in changed)
            why = f"these cohort statistics were made from another {what}"
            raise DataError(path, why, "remove it, or give another path")
        enroll, test = (_stored(content[name]) for name in ("enroll", "test"))
        return cls(enroll, test, found)


def _stored(fields: dict[str, Any] | None) -> SideStatistics | None:
    return None if fields is None else SideStatistics(tuple(fields["ids"]), fields["mean"], fields["std"])


def fingerprint(norm: str, enroll: Side, test: Side, cohort: Cohort, top_n: int) -> dict[str, str]:
    """What statistics depend on: the normalisation, and hashes of the sides it needs and of the cohort."""
    values = {"norm": norm, "top_n": str(top_n) if norm == "as-norm" else "all"}
    for name, side in (("enroll", enroll), ("test", test)):
        if name in _SIDES[norm]:
            ids = np.frombuffer("\n".join(side.ids).encode(), dtype=np.uint8)
            values[name] = _digest(side.factors, side.sizes, ids)
    return {**values, "cohort": _digest(cohort.enroll_factors, cohort.test_factors)}


def _digest(*arrays: npt.NDArray[np.generic]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def measure(norm: str, enroll: Side, test: Side, cohort: Cohort, top_n: int = 300) -> CohortStatistics:
    """Scores of each side against the cohort, and of those the mean and standard deviation.

    Args:
        norm: one of ``NORMS``.
        enroll: the models.
        test: the test utterances.
        cohort: the impostors; none of them may speak in the trials.
        top_n: how many of the highest cohort scores as-norm takes.

    Raises:
        DataError: a cohort of fewer than two or ``top_n``, embeddings of another size, equal scores of an
            identity with all of the cohort.
    """
    sides = _SIDES[norm]
    size = len(cohort.test_factors)
    num_top = top_n if norm == "as-norm" else size
    if num_top < 2:
        raise DataError(cohort.name, f"a standard deviation of {num_top} scores", "take at least two")
    if num_top > size:
        why = f"top-n is {num_top} but there are only {size}"
        raise DataError(cohort.name, why, "lower --top-n or give a larger cohort")
    return CohortStatistics(
        _of_side(enroll, cohort.test_factors, num_top, cohort.name) if "enroll" in sides else None,
        _of_side(test, cohort.enroll_factors, num_top, cohort.name) if "test" in sides else None,
        fingerprint(norm, enroll, test, cohort, top_n),
    )


def _of_side(side: Side, cohort: Factors, num_top: int, name: str) -> SideStatistics:
    if side.factors.shape[1] != cohort.shape[1]:
        why = f"{cohort.shape[1]}-d but {side.name} has {side.factors.shape[1]}-d embeddings"
        raise DataError(name, why, "extract both with one model")
    moments = np.empty((2, len(side.ids)), dtype=np.float64)
    starts = np.arange(len(side.ids)) if side.starts is None else side.starts
    ends = starts + side.sizes
    step = max(1, BLOCK_CELLS // (len(cohort) * int(side.sizes.max())))
    for first in range(0, len(side.ids), step):
        last = min(first + step, len(side.ids))
        scores = side.factors[starts[first] : ends[last - 1]] @ cohort.T
        if side.starts is not None:
            scores = np.maximum.reduceat(scores, starts[first:last] - starts[first], axis=0)
        if num_top < len(cohort):
            scores.partition(len(cohort) - num_top, axis=1)
        top = scores[:, len(cohort) - num_top :]
        moments[0, first:last] = top.mean(axis=1, dtype=np.float64)
        moments[1, first:last] = top.std(axis=1, dtype=np.float64)
    mean, std = moments
    flat = np.flatnonzero(std <= LEAST_STD * np.abs(mean))
    if len(flat):
        why = f"'{side.ids[flat[0]]}' of {side.name} has the same score with each of {num_top}"
        raise DataError(name, f"{why} ({len(flat)} such ids)", "the cohort must hold different voices")
    return SideStatistics(side.ids, mean, std)
