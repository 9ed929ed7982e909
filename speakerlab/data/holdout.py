"""Held-out speakers of a training set as a verification test: two halves of a recording make a target pair.

``train, valid = hold_out(Contents.load(Path("data/train")), 20, numpy.random.default_rng(1))``. Settings are
chosen on ``valid``, never on an evaluation set.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from speakerlab.data.contents import Contents
from speakerlab.data.datadir import ARRAYS, DataDir
from speakerlab.data.durations import durations_s
from speakerlab.data.subset import of_speakers
from speakerlab.errors import DataError
from speakerlab.types import SpkId, TrialList, Utterance, UttId

MIN_HALF_S = 1.5  # an utterance shorter than two of these stays whole
MAX_TRIALS = 5_000_000  # more only cost time; hundreds of recordings of a speaker make them quickly


def hold_out(contents: Contents, num_speakers: int, rng: np.random.Generator) -> tuple[Contents, Contents]:
    """The training set without ``num_speakers`` speakers, and these as halves of utterances with trials.

    As many women as men are held out where ``spk2gender`` allows. ``trials`` pairs all halves;
    ``trials_same_gender`` those of one gender.

    Raises:
        DataError: fewer than ``num_speakers`` + 2 speakers, fewer than 2 wanted, no pair of one speaker
            because all is too short, more than 5 million trials.
        AudioError: a duration that no list gives could not be read from the audio.
    """
    path, speakers = contents.data.path, list(contents.speakers())
    if num_speakers < 2:
        raise DataError(path, "a non-target trial takes two held-out speakers", "ask for 2 or more")
    if len(speakers) < num_speakers + 2:
        why = f"has {len(speakers)} speakers; to hold out {num_speakers} takes {num_speakers + 2}"
        raise DataError(path, why, f"ask for at most {len(speakers) - 2}")
    held = _balanced(speakers, _genders(contents), num_speakers, rng)
    train = of_speakers(contents, set(speakers) - set(held))
    return train, _with_trials(_halved(of_speakers(contents, held)))


def _balanced(
    speakers: Sequence[SpkId], genders: Mapping[str, str], count: int, rng: np.random.Generator
) -> list[SpkId]:
    """``count`` of ``speakers`` at random, one gender after the other in turn."""
    seen: Counter[str] = Counter()
    turns = []
    for place in rng.permutation(len(speakers)):
        gender = genders.get(speakers[place], "")
        turns.append((seen[gender], speakers[place]))
        seen[gender] += 1
    return [spk_id for _, spk_id in sorted(turns, key=lambda turn: turn[0])][:count]


def _genders(contents: Contents) -> dict[str, str]:
    """Genders that are known, by speaker."""
    return {spk_id: g for spk_id, g in contents.tables.get("spk2gender", {}).items() if g != "u"}


def _halved(contents: Contents) -> Contents:
    """Each utterance as ``<utt>-a`` and ``<utt>-b`` or, if short, whole; lists of arrays are left out."""
    data = contents.data
    utterances: list[Utterance] = []
    durations: dict[str, str] = {}
    lengths_s = durations_s(data, contents.tables.get("utt2dur", {}))
    for utterance in data.utterances:
        for half, half_s in _halves(utterance, lengths_s[utterance.utt_id]):
            utterances.append(half)
            durations[half.utt_id] = f"{half_s:.3f}"
    if len(durations) < len(utterances):
        raise DataError(data.path, "an utterance has the id of a half of another", "avoid ids in -a and -b")
    utterances.sort(key=lambda utterance: utterance.utt_id)
    tables = {name: rows for name, rows in contents.tables.items() if name not in ARRAYS}
    if len(tables) < len(contents.tables):
        logging.info(
            "features, VAD and embeddings of the held-out speakers are of whole utterances: left out"
        )
    halved = DataDir(data.path, data.recordings, tuple(utterances))
    return Contents(halved, {**tables, "utt2dur": durations}, {}, contents.domain)


def _halves(utterance: Utterance, duration_s: float) -> list[tuple[Utterance, float]]:
    """Halves of ``utterance`` with their seconds; the second ends where the utterance does."""
    if duration_s < 2 * MIN_HALF_S:
        return [(utterance, duration_s)]
    segment = utterance.segment
    middle_s = round(segment.start_s + duration_s / 2, 3)
    first = replace(segment, utt_id=UttId(segment.utt_id + "-a"), end_s=middle_s)
    second = replace(segment, utt_id=UttId(segment.utt_id + "-b"), start_s=middle_s)
    first_s = middle_s - segment.start_s
    return [
        (Utterance(first, utterance.spk_id), first_s),
        (Utterance(second, utterance.spk_id), duration_s - first_s),
    ]


def _with_trials(contents: Contents) -> Contents:
    """``contents`` with all pairs as ``trials``, and those of one gender as ``trials_same_gender``."""
    data = contents.data
    num_utts = len(data.utterances)
    if num_utts * (num_utts - 1) // 2 > MAX_TRIALS:
        why = f"the held-out speakers have {num_utts} halves, which make over {MAX_TRIALS} trials"
        raise DataError(data.path, why, "hold out fewer speakers")
    genders = _genders(contents)
    gender = np.array([genders.get(str(u.spk_id), "") for u in data.utterances])
    speaker = np.array([u.spk_id for u in data.utterances])
    enroll, test = np.triu_indices(num_utts, 1)
    labels = (speaker[enroll] == speaker[test]).astype(np.int8)
    if not labels.any():
        fix = f"hold out others, by another seed; an utterance gives two halves from {2 * MIN_HALF_S} s"
        raise DataError(data.path, "the held-out speakers have a single short utterance each", fix)
    same = (gender[enroll] == gender[test]) & (gender[enroll] != "")
    lists = {"trials": np.ones_like(same)}
    if same.any() and not labels[same].all():
        lists["trials_same_gender"] = same
    ids = np.array(data.utt_ids, dtype=object)
    trials = {
        name: TrialList(ids[enroll[keep]].tolist(), ids[test[keep]].tolist(), labels[keep], name)
        for name, keep in lists.items()
    }
    return replace(contents, trials=trials)
