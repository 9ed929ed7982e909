"""The utterances that a run began with, in ``utterances.tsv``: speaker, seconds and state of the input.

``write(exp_dir, corpus, sources)`` at the start; ``compare(read(exp_dir), corpus, sources)`` at each resume
finds what is new, lost or changed; ``continued(rows, corpus, lost)`` is the corpus with the places of the
first start, since crops are drawn by place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.io.states import MISSING, UNSAMPLED, States
from speakerlab.train.corpus import TrainCorpus
from speakerlab.types import RecId, Segment, SpkId, Utterance, UttId

NAME = "utterances.tsv"
NUM_SAMPLED = 1000  # utterances, evenly spread, whose content is compared and not only its size
MAX_DRIFT_S = 0.0015  # lists of durations may have three decimals


class Row(NamedTuple):
    """One utterance as the run began with it; ``states`` by name of the input."""

    spk_id: str
    seconds: float
    states: dict[str, str]


@dataclass
class Comparison:
    """What differs from the first start, by utterance.

    Attributes:
        new: utterances that the run does not know.
        lost: utterances that the data dir no longer has.
        changed: how those that both have differ.
    """

    new: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)


def write(exp_dir: Path, corpus: TrainCorpus, sources: Sequence[States]) -> None:
    """Publish the list."""
    every = max(1, -(-len(corpus.data.utterances) // NUM_SAMPLED))
    with atomic.open_text(exp_dir / NAME) as stream:
        stream.write("\t".join(["utt_id", "spk_id", "seconds", *(source.name for source in sources)]) + "\n")
        rows = zip(corpus.data.utterances, corpus.durations_s, strict=True)
        for place, (utterance, seconds) in enumerate(rows):
            utt_id = str(utterance.utt_id)
            states = [source.state(utt_id, sampled=place % every == 0) for source in sources]
            stream.write("\t".join([utt_id, str(utterance.spk_id), repr(float(seconds)), *states]) + "\n")


def read(exp_dir: Path) -> dict[str, Row] | None:
    """The list by utterance, in its order; None where a version before it began the run.

    Raises:
        DataError: it is damaged.
    """
    path = exp_dir / NAME
    if not path.exists():
        return None
    rows = {}
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            utt_id, spk_id, seconds, *states = line.split("\t")
            named = dict(zip(header.split("\t")[3:], states, strict=True))
            rows[utt_id] = Row(spk_id, float(seconds), named)
    except ValueError as error:
        raise DataError(path, "is damaged", "use another --exp or --overwrite true") from error
    return rows


def compare(rows: dict[str, Row], corpus: TrainCorpus, sources: Sequence[States]) -> Comparison:
    """How the data dir differs from ``rows``; files that are gone are found when they are read."""
    found = Comparison()
    now = zip(corpus.data.utterances, corpus.durations_s, strict=True)
    here = {str(utterance.utt_id): (str(utterance.spk_id), float(seconds)) for utterance, seconds in now}
    found.new = [utt_id for utt_id in here if utt_id not in rows]
    found.lost = [utt_id for utt_id in rows if utt_id not in here]
    for utt_id, (spk_id, seconds) in here.items():
        if utt_id in rows:
            what = next(_differences(utt_id, rows[utt_id], spk_id, seconds, sources), None)
            if what:
                found.changed[utt_id] = what
    return found


def _differences(
    utt_id: str, row: Row, spk_id: str, seconds: float, sources: Sequence[States]
) -> Iterator[str]:
    if spk_id != row.spk_id:
        yield f"is of {spk_id} (was of {row.spk_id})"
    for source in sources:
        known = row.states.get(source.name, UNSAMPLED)
        is_here = source.state(utt_id, sampled=False) != MISSING
        if is_here and known not in (UNSAMPLED, MISSING) and source.is_changed(utt_id, known):
            yield f"has other {source.name} ({source.where(utt_id)})"
    if min(seconds, row.seconds) > 0 and abs(seconds - row.seconds) > MAX_DRIFT_S:
        yield f"lasts {seconds:.3f} s (was {row.seconds:.3f})"


def continued(rows: dict[str, Row], corpus: TrainCorpus, left_out: Sequence[str]) -> TrainCorpus:
    """``corpus`` with every utterance of ``rows`` at its place; those ``left_out`` give no crops."""
    known = {str(utterance.utt_id): utterance for utterance in corpus.data.utterances}
    utterances = tuple(
        known.get(utt_id) or Utterance(Segment(UttId(utt_id), RecId(utt_id)), SpkId(row.spk_id))
        for utt_id, row in rows.items()
    )
    return replace(
        corpus,
        data=replace(corpus.data, utterances=utterances),
        durations_s=np.array([row.seconds for row in rows.values()]),
        speakers=tuple(sorted({row.spk_id for row in rows.values()})),
        left_out=frozenset(left_out),
    )
