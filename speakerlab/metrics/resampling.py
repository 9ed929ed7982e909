"""Error curves of a trial list under the weights that samples of its speakers give to the trials.

In: a ``ScoreTable`` and the speaker of every id; out: batches of weighted curves for whatever is measured.
``resampler = Resampler.of(table, utt2spk); for batch in resampler.batches(resampler.draw(rng, 1000)): ...``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from speakerlab.errors import DataError
from speakerlab.metrics.detection import Decisions
from speakerlab.metrics.error_curve import ErrorCurve, Int64Array, error_curve
from speakerlab.metrics.log_likelihood_ratio import llr_cost
from speakerlab.metrics.operating_points import Preset, points_of
from speakerlab.types import Float64Array, ScoreTable

BLOCK_VALUES = 2**17  # weights held at once in one array: 1 MB each, which stay in cache


@dataclass(frozen=True)
class Batch:
    """Weighted errors of some draws.

    Attributes:
        curve: with ``num_miss`` and ``num_fa`` [D, K].
        decided: errors of Bayes decisions, [D, P], where they were asked for.
    """

    curve: ErrorCurve
    decided: Decisions | None


@dataclass(frozen=True)
class _Sums:
    """What adds up over the trials of one kind, by speaker or pair of speakers (U units).

    Attributes:
        steps: int64 [K, U], sparse: trials between a threshold of the curve and the one before.
        errors: int64 [P, U], wrong Bayes decisions at each operating point.
        costs: float64 [U], bits of Cllr.
    """

    steps: csr_array
    errors: Int64Array
    costs: Float64Array


@dataclass(frozen=True)
class _Cuts:
    """Where scores are cut: at the thresholds of the curve [K], and at those of the operating points [P]."""

    curve: Float64Array
    bayes: Float64Array

    def sums(self, scores: Float64Array, unit_of: Int64Array, num_units: int, *, sign: float) -> _Sums:
        """Sums over trials of one kind: sorted scores and units [N], ``sign`` as in ``llr_cost``."""
        steps = np.searchsorted(self.curve, scores, side="right")
        ones = np.ones(len(scores), dtype=np.int64)
        wrong = (unit_of[:at] if sign < 0 else unit_of[at:] for at in np.searchsorted(scores, self.bayes))
        errors = [np.bincount(units, minlength=num_units) for units in wrong]
        return _Sums(
            csr_array((ones, (steps, unit_of)), shape=(len(self.curve), num_units)),
            np.array(errors, dtype=np.int64).reshape(len(self.bayes), num_units),
            np.bincount(unit_of, weights=llr_cost(scores, sign), minlength=num_units).astype(np.float64),
        )


@dataclass(frozen=True)
class Resampler:
    """One scored list, ready to be weighted: a target by m_a, a non-target by m_a * m_b.

    Attributes:
        name: of the list, for messages.
        thresholds: float64 [K], of the curve without weights; with weights the corners are among these.
        num_speakers: S, of the enrolment and test ids.
        pairs: int64 [2, U], the pairs of speakers in non-target trials.
        targets: sums by speaker.
        nontargets: sums by pair.
        decides: whether Bayes decisions are counted.
    """

    name: str
    thresholds: Float64Array
    num_speakers: int
    pairs: Int64Array
    targets: _Sums
    nontargets: _Sums
    decides: bool

    @classmethod
    def of(
        cls, table: ScoreTable, utt2spk: Mapping[str, str], presets: Mapping[str, Preset] | None = None
    ) -> Resampler:
        """Sort and add up the trials of ``table``.

        Args:
            table: scored trials with labels.
            utt2spk: speaker of every enrolment and test id.
            presets: operating points to count Bayes decisions for; None where scores are no ratios.

        Raises:
            DataError: as ``sorted_scores``; an id without speaker; a label that contradicts the speakers.
        """
        curve = error_curve(table)
        num_speakers, enroll_spk, test_spk = _speakers(table, utt2spk)
        _check_labels(table, enroll_spk == test_spk, utt2spk)
        order = np.argsort(table.scores)  # sums of costs then do not depend on the order of trials
        is_target = table.trials.labels[order] == 1
        targets, nontargets = order[is_target], order[~is_target]
        sides = enroll_spk[nontargets], test_spk[nontargets]
        pairs = np.minimum(*sides) * num_speakers + np.maximum(*sides)
        codes, pair_of = np.unique(pairs, return_inverse=True)
        points = points_of(presets or {}).values()
        cuts = _Cuts(curve.thresholds, np.array([point.bayes_threshold for point in points]))
        return cls(
            table.trials.name,
            curve.thresholds,
            num_speakers,
            np.stack(np.divmod(codes, num_speakers)),
            cuts.sums(table.scores[targets], enroll_spk[targets], num_speakers, sign=-1.0),
            cuts.sums(table.scores[nontargets], pair_of, len(codes), sign=1.0),
            presets is not None,
        )

    def draw(self, rng: np.random.Generator, num_draws: int) -> Int64Array:
        """How often each speaker is in each sample with replacement, int64 [num_draws, S]."""
        return rng.multinomial(
            self.num_speakers, np.full(self.num_speakers, 1 / self.num_speakers), num_draws
        )

    def batches(self, times: Int64Array) -> Iterator[Batch]:
        """Weighted curves of the draws that hold both kinds of trials, some draws at a time, in order.

        Args:
            times: int64 [num_draws, S], see ``draw``.
        """
        block = max(1, BLOCK_VALUES // max(len(self.thresholds), *self.pairs.shape))
        for start in range(0, len(times), block):
            weights = times[start : start + block].T
            pair_weights = weights[self.pairs[0]] * weights[self.pairs[1]]
            miss = np.cumsum((self.targets.steps @ weights).T, axis=1)
            rejected = np.cumsum((self.nontargets.steps @ pair_weights).T, axis=1)
            usable = (miss[:, -1] > 0) & (rejected[:, -1] > 0)
            if usable.any():
                miss, rejected = miss[usable], rejected[usable]
                curve = ErrorCurve(self.thresholds, miss, rejected[:, -1:] - rejected)
                yield Batch(curve, self._decided(curve, weights[:, usable], pair_weights[:, usable]))

    def _decided(self, curve: ErrorCurve, weights: Int64Array, pair_weights: Int64Array) -> Decisions | None:
        if not self.decides:
            return None
        target_bits = self.targets.costs @ weights / curve.num_miss[:, -1]
        nontarget_bits = self.nontargets.costs @ pair_weights / curve.num_fa[:, 0]
        errors = (self.targets.errors @ weights).T, (self.nontargets.errors @ pair_weights).T
        return Decisions(*errors, (target_bits + nontarget_bits) / 2)


def check_same_trials(first: ScoreTable, second: ScoreTable) -> None:
    """Refuse to pair scores of different trials.

    Raises:
        DataError: the tables differ in their trials, or in the order of these.
    """
    one, other = first.trials, second.trials
    if one is other:
        return
    columns = ((one.enroll_ids, other.enroll_ids), (one.test_ids, other.test_ids))
    same = all(list(left) == list(right) for left, right in columns)
    if not same or not np.array_equal(one.labels, other.labels):
        raise DataError(
            other.name, f"not the trials of {one.name}", "score both systems on one list, in its order"
        )


def _speakers(table: ScoreTable, utt2spk: Mapping[str, str]) -> tuple[int, Int64Array, Int64Array]:
    """Number of speakers, and the number of the speaker on either side of each trial."""
    trials = table.trials
    ids = set(trials.enroll_ids) | set(trials.test_ids)
    unknown = sorted(ids - utt2spk.keys())
    if unknown:
        raise DataError(trials.name, f"{unknown[0]} has no speaker in utt2spk ({len(unknown)} such ids)")
    numbers = {spk_id: row for row, spk_id in enumerate(sorted({utt2spk[i] for i in ids}))}
    number_of = {i: numbers[utt2spk[i]] for i in ids}

    def speakers(of_ids: Sequence[str]) -> Int64Array:
        return np.fromiter(map(number_of.__getitem__, of_ids), dtype=np.int64, count=len(of_ids))

    return len(numbers), speakers(trials.enroll_ids), speakers(trials.test_ids)


def _check_labels(table: ScoreTable, is_same: npt.NDArray[np.bool_], utt2spk: Mapping[str, str]) -> None:
    """A wrong utt2spk would make a wrong interval in silence."""
    trials = table.trials
    wrong = np.flatnonzero(is_same != (trials.labels == 1))
    if not len(wrong):
        return
    enroll_id, test_id = trials.enroll_ids[wrong[0]], trials.test_ids[wrong[0]]
    label = "nontarget" if is_same[wrong[0]] else "target"
    raise DataError(
        trials.name,
        f"trial '{enroll_id} {test_id}' is labelled {label} but utt2spk says {utt2spk[enroll_id]} and "
        f"{utt2spk[test_id]} ({len(wrong)} such trials)",
        "correct the trials or utt2spk",
    )
