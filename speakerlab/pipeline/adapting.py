"""Adapt a model to a domain from recordings of it: what ``speakerlab adapt`` computes.

``adapt(voices, false_accept=0.01, domain="calls")`` -> ``Adaptation``; ``calibrated(adaptation, voices,
trials, "even", point)`` -> the same with log-likelihood ratios, where there are labelled trials.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speakerlab.backend import calibration as logistic
from speakerlab.backend import domain_norm
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.backend.domain_norm import DomainNorm, Labels
from speakerlab.embed.speech_check import SpeechCheck
from speakerlab.errors import DataError
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.conditions import Conditions
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.types import Float32Array, Float64Array, ScoreTable, TrialList

REPEATING = 0.9  # people in so many recordings, or fewer: some of their pairs were not recognised as such
MAX_RECORDINGS = 3000  # all pairs of them are compared
MIN_SPREAD = 1e-6  # deviation of cohort scores; of copies of one recording it is 0


@dataclass(frozen=True, eq=False)
class Voices:
    """Recordings of a domain.

    Attributes:
        name: the list they are in.
        ids: N ids.
        embeddings: float32 [N, E], as the network gave them.
        checks: what was found in each.
        people: who speaks in each, where that is known.
    """

    name: str
    ids: tuple[str, ...]
    embeddings: Float32Array
    checks: Sequence[SpeechCheck]
    people: Mapping[str, str] | None = None

    def labels(self) -> tuple[Labels, float]:
        """A number for each recording's speaker, told or guessed, and the score that joins two."""
        guessed, same_person = domain_norm.people_of(self.embeddings)
        if self.people is None:
            return guessed, same_person
        _, told = np.unique([self.people[key] for key in self.ids], return_inverse=True)
        return told.astype(np.int64), same_person


def chosen(name: str, ids: Sequence[str]) -> list[str]:
    """All ids of the list ``name``, or a fixed random choice of as many as can be compared in pairs."""
    if len(ids) <= MAX_RECORDINGS:
        return list(ids)
    rng = np.random.default_rng(domain_norm.SEED)
    rows = np.sort(rng.choice(len(ids), MAX_RECORDINGS, replace=False))
    logging.info("%s: %d of %d recordings are used", name, MAX_RECORDINGS, len(ids))
    return [ids[row] for row in rows]


def require_known(
    name: str, ids: Collection[str], people: Mapping[str, str] | None, trials: TrialList | None
) -> None:
    """Whether labels and trials fit the list ``name``; before hours of embedding.

    Raises:
        DataError: a recording without speaker, a trial of one that is not in the list.
    """
    if missing := [key for key in ids if people is not None and key not in people]:
        why = f"no speaker for {missing[0]} ({len(missing)} such recordings)"
        raise DataError(name, why, "give a line for each in --utt2spk")
    if trials is None:
        return
    if unknown := [key for key in (*trials.enroll_ids, *trials.test_ids) if key not in ids]:
        why = f"{unknown[0]} is not among the recordings of {name}"
        raise DataError(trials.name, f"{why} ({len(set(unknown))} such ids)", "leave these trials out")


def adapt(voices: Voices, false_accept: float, domain: str) -> Adaptation:
    """The adaptation to the domain of ``voices``.

    Args:
        voices: mostly of different people, thirty or more; fewer leave the threshold wide open, which the log
            tells.
        false_accept: share of strangers that may reach the threshold.
        domain: what speech it is, in one line.

    Raises:
        DataError: too few people.
    """
    if len(voices.ids) < domain_norm.MIN_PEOPLE:
        raise _too_few(voices.name, f"{len(voices.ids)} usable recordings")
    labels, same_person = voices.labels()
    num_people = len(np.unique(labels))
    if num_people < domain_norm.MIN_PEOPLE:
        raise _too_few(voices.name, f"recordings of {num_people} people")
    norm, impostors = domain_norm.learn(voices.embeddings, labels, same_person)
    if norm.spread < MIN_SPREAD:
        raise DataError(voices.name, "its recordings are all alike", "give recordings of different people")
    # Where hardly anybody is found twice, hardly anybody was missed: scores can be taken as they are.
    repeats = voices.people is None and num_people < REPEATING * len(voices.ids)
    threshold = impostors.threshold(false_accept, robust=repeats)
    interval = impostors.interval(threshold)
    if num_people < domain_norm.ENOUGH_PEOPLE:
        logging.warning(
            "%s: %d people are few: the threshold may accept %.2f to %.2f %% of pairs of strangers where "
            "%.2f %% are wanted; recordings of %d people or more narrow this",
            voices.name, num_people, 100 * interval[0], 100 * interval[1], 100 * false_accept,
            domain_norm.ENOUGH_PEOPLE,
        )  # fmt: skip
    return Adaptation(
        norm, threshold, false_accept, interval, domain, Conditions.of(voices.checks), voices.name,
        len(voices.ids), num_people,
    )  # fmt: skip


def _too_few(name: str, what: str, use: str = "adapt to") -> DataError:
    fix = f"give recordings of {domain_norm.ENOUGH_PEOPLE} people or more"
    return DataError(name, f"{what} are too few to {use}", fix)


def calibrated(
    adaptation: Adaptation, voices: Voices, trials: TrialList, point_name: str, point: OperatingPoint
) -> Adaptation:
    """``adaptation`` with a calibration of its scores, by labelled trials between ``voices``.

    Each half of the people is scored with what the other half teaches: strangers are not in the mean either.
    Trials of recordings that are not among ``voices`` do not count.

    Raises:
        DataError: a trial without label, trials of one kind only, a threshold that
            no score reaches.
    """
    scores = _cross_scores(voices, trials)
    trained = logistic.train(Inputs.of({"score": scores}))
    if trained.is_separated:
        logging.warning(
            "%s: every target scores above every non-target: take the likelihood ratios for no more than "
            "their sign, or give more and harder trials",
            trials.name,
        )
    (scale,), offset = trained.raw_scales()
    known = trained.provenance
    try:
        calibration = Calibration(
            scale, offset, point_name, point, trained.prior, known.trials, known.num_targets,
            known.num_nontargets, adaptation.domain, adaptation.conditions,
        )  # fmt: skip
        calibration.require_threshold(scores.scores.min(), scores.scores.max())
    except ValueError as error:
        raise DataError(
            trials.name, str(error), "choose another --operating-point or other trials"
        ) from error
    return replace(adaptation, calibration=calibration.counted(scores))


def _cross_scores(voices: Voices, trials: TrialList) -> ScoreTable:
    """Scores of the trials whose two people are in one half, by the other half."""
    labels, same_person = voices.labels()
    people = np.unique(labels)
    if len(people) < 2 * domain_norm.MIN_PEOPLE:
        raise _too_few(voices.name, f"recordings of {len(people)} people", "calibrate on")
    rows = {key: row for row, key in enumerate(voices.ids)}
    enroll = np.array([rows.get(key, -1) for key in trials.enroll_ids])
    test = np.array([rows.get(key, -1) for key in trials.test_ids])
    is_known = (enroll >= 0) & (test >= 0)
    half = np.isin(labels, np.random.default_rng(domain_norm.SEED).permutation(people)[: len(people) // 2])
    scores = np.full(len(trials), np.nan)
    for mine in (half, ~half):
        norm, _ = domain_norm.learn(voices.embeddings[~mine], labels[~mine], same_person)
        chosen = np.flatnonzero(is_known & mine[enroll] & mine[test])
        scores[chosen] = _pair_scores(norm, voices.embeddings, enroll[chosen], test[chosen])
    kept: list[int] = np.flatnonzero(np.isfinite(scores)).tolist()
    return ScoreTable(
        TrialList(
            [trials.enroll_ids[n] for n in kept],
            [trials.test_ids[n] for n in kept],
            trials.labels[kept],
            trials.name,
        ),
        scores[kept],
    )


def _pair_scores(norm: DomainNorm, embeddings: Float32Array, enroll: Labels, test: Labels) -> Float64Array:
    rows, places = np.unique(np.concatenate([enroll, test]), return_inverse=True)
    if not len(rows):
        return np.zeros(0)
    centred = norm.centred(embeddings[rows])
    matrix = norm.scores(centred, centred)
    return np.asarray(matrix[places[: len(enroll)], places[len(enroll) :]])
