"""What an enrolment must pass: enough speech, good recordings, one speaker, nobody who is enrolled already.

``findings(gates, checks, scores, known, threshold)`` -> ``(Finding("duplicate", "sounds like Ann ..."),)``;
pure functions of measurements and scores. Each gate can be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speakerlab.embed.speech_check import MIN_SPEECH_S, SpeechCheck
from speakerlab.errors import SpeakerLabError
from speakerlab.types import Float64Array

OFF, WARN, REVIEW = "off", "warn", "review"
# Seconds of speech a speaker needs. A decision rests on two recordings of MIN_SPEECH_S each; a voiceprint is
# one side of all later decisions, so it gets twice that.
MIN_ENROLLED_S = 2 * MIN_SPEECH_S
NAMED = 3  # people named as sounding alike; more help nobody


@dataclass(frozen=True, slots=True)
class Gates:
    """Which gates there are.

    Attributes:
        min_speech_s: least seconds of speech of a speaker, over all clips; None switches the gate off.
        quality: whether the reasons of ``speech_check`` count: silence, noise, clipping.
        cohesion: whether each clip must reach the model's threshold with the others, on average, those that
            the speaker has already included. Two clips
            below it are two speakers to this model: it could not recognise one by the other.
        duplicates: what follows where a speaker who is enrolled reaches the threshold: ``off``, ``warn`` (the
            default: the threshold accepts some strangers, and in a large store almost everybody resembles
            somebody), or ``review``.
    """

    min_speech_s: float | None = MIN_ENROLLED_S
    quality: bool = True
    cohesion: bool = True
    duplicates: str = WARN

    def __post_init__(self) -> None:
        if self.duplicates not in {OFF, WARN, REVIEW}:
            raise SpeakerLabError(f"duplicates is {self.duplicates!r}; use off, warn or review")
        if self.min_speech_s is not None and not self.min_speech_s >= 0:
            raise SpeakerLabError(f"min_speech_s is {self.min_speech_s}; use a number of seconds")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate found: its name, why, in words, and whether that keeps the clips from being enrolled."""

    gate: str
    why: str
    blocks: bool


def findings(
    gates: Gates,
    checks: Sequence[SpeechCheck],
    scores: Float64Array,
    known: Mapping[str, float],
    threshold: float | None,
    enrolled_s: float = 0.0,
) -> tuple[Finding, ...]:
    """What the gates find; empty where all are passed.

    Args:
        gates: which there are.
        checks: what was measured in each clip.
        scores: of the N clips with each other, and with M that the speaker has already, [N, N + M].
        known: scores of the clips with speakers who are enrolled, by name.
        threshold: the score from which on it is the same speaker; None switches off what needs it.
        enrolled_s: seconds of speech that the speaker has already.
    """
    found = [Finding("quality", why, blocks=True) for why in quality(checks)] if gates.quality else []
    if gates.min_speech_s is not None and (why := too_short(checks, gates.min_speech_s, enrolled_s)):
        found.append(Finding("speech", why, blocks=True))
    if threshold is None:
        return tuple(found)
    if gates.cohesion:
        found += [Finding("cohesion", why, blocks=True) for why in strangers(scores, threshold)]
    if gates.duplicates != OFF:
        blocks = gates.duplicates == REVIEW
        found += [Finding("duplicate", why, blocks=blocks) for why in sounds_like(known, threshold)]
    return tuple(found)


def quality(checks: Sequence[SpeechCheck]) -> list[str]:
    """Why clips are no good, each with its number, from 1, where there are several."""
    several = len(checks) > 1
    return [
        f"recording {number}: {why}" if several else why
        for number, check in enumerate(checks, 1)
        for why in check.reasons
    ]


def too_short(checks: Sequence[SpeechCheck], least_s: float, enrolled_s: float = 0.0) -> str:
    """Why there is too little speech in all clips together; empty where there is enough, or nobody knows."""
    seconds = [check.speech_s for check in checks]
    if any(one is None for one in seconds):
        return ""
    total = enrolled_s + sum(one for one in seconds if one is not None)
    return "" if total >= least_s else f"{total:.2f} s of speech in all, {least_s:g} s is the least"


def strangers(scores: Float64Array, threshold: float) -> list[str]:
    """Clips whose mean score with all others lies below ``threshold``.

    Args:
        scores: of N clips with themselves and then with M that the speaker has already, [N, N + M].
        threshold: the score from which on it is the same speaker.
    """
    fresh, total = scores.shape
    if total < 2:
        return []
    means = (scores.sum(axis=1) - np.diag(scores)) / (total - 1)
    told = [f"(score {mean:.3f}, threshold {threshold:.3f})" for mean in means]
    low = np.flatnonzero(means < threshold)
    if fresh == total == 2:  # nobody knows which of the two it is
        return [f"the two recordings sound like different speakers {told[0]}"] if len(low) else []
    if fresh == 1:
        return [f"sounds like another speaker than what is enrolled {told[0]}"] if len(low) else []
    return [f"recording {row + 1} sounds like another speaker than the rest {told[row]}" for row in low]


def sounds_like(known: Mapping[str, float], threshold: float) -> list[str]:
    """The nearest of the people ``known``, by name, whose score reaches ``threshold``."""
    near = sorted((item for item in known.items() if item[1] >= threshold), key=lambda one: (-one[1], one[0]))
    return [
        f"sounds like {name}, already enrolled (score {score:.3f}, threshold {threshold:.3f})"
        for name, score in near[:NAMED]
    ]
