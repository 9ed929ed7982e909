"""Scores in a domain of which only unlabelled recordings are known: its mean, an as-norm cohort, a threshold.

In: embeddings of recordings of mostly different people; out: a ``DomainNorm``, which scores pairs, and the
``Impostors``, scores between different people.
``norm, impostors = learn(embeddings, *people_of(embeddings))``;
``norm.scores(norm.centred(first), norm.centred(second))``; ``impostors.threshold(0.01)``.

Scores stay on the scale of cosines: as-norm (``score_norm``) counts deviations from the mean of impostors,
which are put back on the mean and the deviation that the average recording has.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from speakerlab.types import Float64Array

Labels = npt.NDArray[np.int64]
MIN_PEOPLE = 4  # below it there is no deviation of a cohort to speak of
ENOUGH_PEOPLE = 30  # below it the threshold is wide open
MAX_PEOPLE = 300  # in a cohort, which travels with the model; the mean is that of all
MAX_TOP = 50  # highest cohort scores of a recording that count, and at most half of the cohort
PRIOR_SCORES = 10  # the statistics of the average recording weigh as much as so many cohort scores
# Recordings whose centred cosine lies so many deviations above the median of all are taken for one person's:
# about one pair in 10^3 of different people reaches that, and most pairs of one person (RESULTS.md).
LINK_DEVIATIONS = 4.0
BODY = np.linspace(0.60, 0.95, 15)  # quantiles that a few pairs of one person do not move
_NORMAL = NormalDist()
# Slope and centre of the straight line through normal quantiles: times the scores at the shares of BODY.
_TO_NORMAL = np.linalg.pinv(np.stack([[_NORMAL.inv_cdf(share), 1.0] for share in BODY]))
# Below it the pairs are too few to draw from; over 60 choices of 10 people the interval held in 98 %.
MIN_DRAWN = 10
MIN_REACHED = 5  # pairs, for their quantile to mean something
NUM_DRAWS = 1000
SEED = 0


@dataclass(frozen=True, eq=False)
class DomainNorm:
    """How embeddings of a domain are compared.

    Attributes:
        mean: float64 [E], subtracted from embeddings of length 1.
        cohort: float64 [C, E], a centred embedding of length 1 for each person.
        top_n: how many of a recording's highest cohort scores count.
        location: mean of these, of the average recording.
        spread: their standard deviation, of the average recording.
        same_person: cohort scores from here on are left out: the recording may be of that person.
    """

    mean: Float64Array
    cohort: Float64Array
    top_n: int
    location: float
    spread: float
    same_person: float

    def centred(self, embeddings: npt.NDArray[np.floating]) -> Float64Array:
        """Embeddings [N, E] as extracted, at length 1 without the mean, and at length 1 again; float64."""
        return _unit(_unit(np.asarray(embeddings, np.float64)) - self.mean)

    def scores(self, first: Float64Array, second: Float64Array) -> Float64Array:
        """Normalised scores, float64 [N, M], of centred embeddings [N, E] and [M, E]."""
        (gain_1, bias_1), (gain_2, bias_2) = self.affine(first), self.affine(second)
        cosines = np.asarray(first @ second.T)
        return np.asarray(cosines * (gain_1[:, None] + gain_2) + bias_1[:, None] + bias_2)

    def affine(self, centred: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Gain and bias, [N] each, of centred embeddings [N, E].

        The score of two is their cosine times the sum of their gains, plus the sum of their biases: so a
        search that knows cosines knows scores.
        """
        mean, std = self.statistics(centred @ self.cohort.T)
        gain = self.spread / (2 * std)
        return gain, self.location / 2 - gain * mean

    def statistics(self, scores: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Mean and deviation, [N] each, of cohort scores [N, C], drawn towards the average recording's."""
        known = np.where(scores < self.same_person, scores, -np.inf)
        top = np.sort(known, axis=1)[:, -self.top_n :]
        counts = np.isfinite(top).sum(axis=1)
        found = np.where(np.isfinite(top), top, 0.0)
        mean = found.sum(axis=1) / np.maximum(counts, 1)
        square = (found**2).sum(axis=1) / np.maximum(counts, 1)
        std = np.sqrt(np.maximum(square - mean**2, 0.0))
        weight = counts / (counts + PRIOR_SCORES)
        return (
            self.location + weight * (mean - self.location),
            np.maximum(self.spread + weight * (std - self.spread), 1e-12),
        )


@dataclass(frozen=True, eq=False)
class Impostors:
    """Normalised scores between different people, symmetric float64 [P, P]; the diagonal has no meaning.

    The two of a pair are left out of mean and cohort when it is scored: strangers are in neither either.
    """

    scores: Float64Array

    def threshold(self, false_accept: float, *, robust: bool = False) -> float:
        """The score that a share ``false_accept`` of the pairs reaches.

        Args:
            false_accept: in (0, 1).
            robust: people were only guessed; the few pairs of one person among them, which have the highest
                scores, must not raise it. Then it is at most what the body of the scores leads to expect, as
                the tail of a normal distribution through its upper quantiles. Where hardly a pair is to reach
                it, that tail is all there is to go by.
        """
        scores = self._pairs()
        found = float(np.quantile(scores, 1 - false_accept))
        slope, centre = _TO_NORMAL @ np.quantile(scores, BODY)
        tail = float(centre - slope * _NORMAL.inv_cdf(false_accept))  # 1 - false_accept may round to 1
        if false_accept * len(scores) < MIN_REACHED:
            return tail if robust else max(found, tail)
        return min(found, tail) if robust else found

    def interval(self, threshold: float) -> tuple[float, float]:
        """95 % interval of the share of strangers that reach ``threshold``: people drawn anew, 1,000 times.

        A person drawn twice makes no pair with himself. Where fewer than ``MIN_REACHED`` pairs reach it, each
        draw's share is that of the tail as in ``threshold``: counts would be none in every draw. Of fewer
        people than ``MIN_DRAWN`` nothing is known: 0 to 1.
        """
        num_people = len(self.scores)
        if num_people < MIN_DRAWN:
            return 0.0, 1.0
        rng = np.random.default_rng(SEED)
        drawn = rng.multinomial(num_people, np.full(num_people, 1 / num_people), NUM_DRAWS)
        order = np.argsort(self._pairs())
        scores = self._pairs()[order]
        first, second = (side[order] for side in np.triu_indices(num_people, 1))
        share = _tail_share if (scores >= threshold).sum() < MIN_REACHED else _counted_share
        weights = ((counts[first] * counts[second]).cumsum() for counts in drawn)
        shares = [share(scores, each, threshold) for each in weights if each[-1]]
        low, high = np.quantile(shares, (0.025, 0.975))
        return float(low), float(high)

    def _pairs(self) -> Float64Array:
        return np.asarray(self.scores[np.triu_indices(len(self.scores), 1)])


def _counted_share(scores: Float64Array, weights: Labels, threshold: float) -> float:
    """Share of rising ``scores`` that reach ``threshold``; ``weights`` are their weights, summed up."""
    below = np.searchsorted(scores, threshold)
    return float(1 - weights[below - 1] / weights[-1]) if below else 1.0


def _tail_share(scores: Float64Array, weights: Labels, threshold: float) -> float:
    """The same of a normal distribution through the upper quantiles."""
    slope, centre = _TO_NORMAL @ scores[np.searchsorted(weights, BODY * weights[-1])]
    return 1 - _NORMAL.cdf(float((threshold - centre) / max(slope, 1e-12)))


def people_of(embeddings: npt.NDArray[np.floating]) -> tuple[Labels, float]:
    """Who speaks in recordings without labels: a number each, int64 [N], and the score that joins two.

    Average linkage of centred cosines, cut at ``LINK_DEVIATIONS`` above the median of all pairs. The
    deviation is that of the lower half, which pairs of one person cannot widen.

    Args:
        embeddings: [N, E] as extracted, N at least 2.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # slow to import: adapted models score without
    from scipy.spatial.distance import squareform

    unit = _unit(np.asarray(embeddings, np.float64))
    centred = _unit(unit - _shrunk_mean(unit))
    cosines = np.clip(centred @ centred.T, -1.0, 1.0)
    pairs = cosines[np.triu_indices(len(unit), 1)]
    median, low = np.quantile(pairs, (0.5, _NORMAL.cdf(-1)))
    level = float(median + LINK_DEVIATIONS * (median - low))
    distances = 1 - cosines
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), "average")
    return np.asarray(fcluster(tree, 1 - level, "distance"), np.int64), level


def learn(
    embeddings: npt.NDArray[np.floating], people: npt.NDArray[np.generic], same_person: float
) -> tuple[DomainNorm, Impostors]:
    """The normalisation of a domain, and the scores between its people.

    Args:
        embeddings: [N, E] as extracted.
        people: [N], who speaks in each; of at least ``MIN_PEOPLE`` people.
        same_person: see ``DomainNorm``; the second result of ``people_of``.
    """
    unit = _unit(np.asarray(embeddings, np.float64))
    _, labels = np.unique(people, return_inverse=True)
    means = np.stack([unit[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    voices = _unit(means)
    mean = _shrunk_mean(voices)
    share = float(np.linalg.norm(mean) / max(float(np.linalg.norm(voices.mean(axis=0))), 1e-12))
    if len(voices) > MAX_PEOPLE:
        chosen = np.random.default_rng(SEED).choice(len(voices), MAX_PEOPLE, replace=False)
        voices = voices[np.sort(chosen)]
    cohort = _unit(voices - mean)
    top_n = max(2, min(MAX_TOP, len(cohort) // 2))
    location, spread = _average_statistics(cohort, top_n)
    norm = DomainNorm(mean, cohort, top_n, location, spread, same_person)
    return norm, _impostors(norm, voices, share)


def _unit(vectors: Float64Array) -> Float64Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def _shrunk_mean(unit: Float64Array) -> Float64Array:
    """The mean [E] of [N, E], drawn to zero by as much as chance makes it too long.

    James and Stein, "Estimation with quadratic loss", 1961, positive part: of few recordings the mean is
    mostly these people, and subtracting them would make strangers alike.
    """
    mean = unit.mean(axis=0)
    chance = ((unit - mean) ** 2).sum() / (max(len(unit) - 1, 1) * len(unit))
    return np.asarray(mean * max(0.0, 1 - chance / max(float(mean @ mean), 1e-12)))


def _average_statistics(cohort: Float64Array, top_n: int) -> tuple[float, float]:
    """Mean and deviation of the highest scores that a member has with the others, averaged over members."""
    scores = cohort @ cohort.T
    np.fill_diagonal(scores, -np.inf)
    top = np.sort(scores, axis=1)[:, -top_n:]
    return float(top.mean()), float(top.std(axis=1).mean())


def _impostors(norm: DomainNorm, voices: Float64Array, share: float) -> Impostors:
    """Scores of every two of ``voices`` [P, E], each pair with the mean and the cohort of all others.

    ``share`` of that mean is subtracted, as in ``norm``.
    """
    products = voices @ voices.T
    scores = np.zeros_like(products)
    for first in range(len(voices) - 1):
        seconds = np.arange(first + 1, len(voices))
        of_first, of_second = _without_pair(products, first, seconds, share)
        pairs = np.arange(len(seconds))
        cosines = of_first[pairs, seconds]
        for side in (of_first, of_second):  # infinite scores are left out, see statistics
            side[:, first] = side[pairs, seconds] = np.inf
        (mean_1, std_1), (mean_2, std_2) = norm.statistics(of_first), norm.statistics(of_second)
        deviations = (cosines - mean_1) / std_1 + (cosines - mean_2) / std_2
        scores[first, seconds] = norm.location + norm.spread * deviations / 2
    return Impostors(scores + scores.T)


def _without_pair(
    products: Float64Array, first: int, seconds: Labels, share: float
) -> tuple[Float64Array, Float64Array]:
    """Cosines [pairs, P] of ``first``, and of each of ``seconds``, with all; centred without the pair.

    All follows from the products ab of voices of length 1: where m is the part of the mean of the others that
    is subtracted, (a - m)(b - m) = ab - am - bm + mm.
    """
    weight = share / (len(products) - 2)
    sums = products.sum(axis=1)
    am = weight * (sums - products[first] - products[seconds])  # [pairs, P]
    left = sums.sum() - 2 * (sums[first] + sums[seconds]) + 2 + 2 * products[first, seconds]
    mm = (weight**2 * left)[:, None]
    lengths = np.sqrt(np.maximum(1 - 2 * am + mm, 1e-12))
    pairs = np.arange(len(seconds))

    def cosines(rows: Labels) -> Float64Array:
        centred = products[rows] - am[pairs, rows][:, None] - am + mm
        return np.asarray(centred / lengths / lengths[pairs, rows][:, None])

    return cosines(np.full_like(seconds, first)), cosines(seconds)
