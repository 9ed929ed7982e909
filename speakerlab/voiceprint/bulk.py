"""Enrol many people, each in one transaction, or tell what would happen.

``job = Bulk(store, network, threshold, Wishes(), search)``; ``for done in job.run(people): ...`` takes what
``bulk_plan.plan`` made and yields a ``PersonDone`` each. Killed at any time, it leaves whole people; run
again, it does what is missing, and ends as an undisturbed run would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from speakerlab import logs
from speakerlab.errors import AudioError
from speakerlab.pipeline.decision import Threshold, unit
from speakerlab.pipeline.embedding import Embedded, EmbedOptions, embed
from speakerlab.types import Float32Array, Float64Array
from speakerlab.voiceprint import enrolment, gates
from speakerlab.voiceprint.audio_folder import keep
from speakerlab.voiceprint.bulk_plan import (
    FAILED,
    KNOWN,
    NEW,
    REPEATED,
    Entry,
    digest_of,
    marked,
    marked_source,
    sorted_out,
)
from speakerlab.voiceprint.enrolment import Nearest, Person
from speakerlab.voiceprint.gates import Finding, Gates
from speakerlab.voiceprint.records import ENROLLED, REVIEW, Consent, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

if TYPE_CHECKING:
    from speakerlab.embed.extractor import Extractor
    from speakerlab.embed.waveform_graph import WaveformGraph

# from the size of the embeddings to a search of the store
Search: TypeAlias = Callable[[int], Nearest]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How everybody is enrolled.

    Attributes:
        gates: what recordings must pass.
        consent: what allows it.
        galleries: which to join.
        dry_run: whether the store stays as it is.
        batch_size: recordings in one network call.
    """

    gates: Gates = field(default_factory=Gates)
    consent: Consent | None = None
    galleries: Sequence[str] = ()
    dry_run: bool = False
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class PersonDone:
    """What became of one person; with ``dry_run``, what would.

    Attributes:
        name: the person.
        entries: each recording's state, ``new`` no more.
        findings: of the gates.
    """

    name: str
    entries: Sequence[Entry]
    findings: tuple[Finding, ...] = ()

    @property
    def state(self) -> str:
        """``enrolled``, ``review``, ``known`` (nothing was new) or ``failed`` (nothing is enrolled)."""
        states = {one.state for one in self.entries}
        for state in (ENROLLED, REVIEW, KNOWN):
            if state in states:
                return state
        return FAILED

    @property
    def is_complete(self) -> bool:
        """Whether every recording is enrolled."""
        return all(one.state in {ENROLLED, KNOWN, REPEATED} for one in self.entries)


class Bulk:
    """The enrolment of many people with one model.

    Args:
        store: where.
        embedder: the network.
        threshold: of the model.
        wishes: how.
        search: finds who sounds alike.
    """

    def __init__(
        self,
        store: VoiceprintStore,
        embedder: Extractor | WaveformGraph,
        threshold: Threshold,
        wishes: Wishes,
        search: Search,
    ) -> None:
        self._store, self._embedder, self._threshold, self._wishes = store, embedder, threshold, wishes
        self._search = search
        self._nearest: Nearest | None = None
        self._would_be: dict[str, Float64Array] = {}

    def run(self, people: Mapping[str, list[Entry]]) -> Iterator[PersonDone]:
        """Each person after the other, committed when it is yielded.

        Raises:
            DataError: the store refuses: a review list that is full, a consent that is missing.
        """
        if not self._wishes.dry_run:
            make_galleries(self._store, self._wishes.galleries)
        for name, entries in logs.progress(people.items(), "people", len(people)):
            yield self._person(name, entries)

    def _person(self, name: str, entries: list[Entry]) -> PersonDone:
        heard, fresh = self._heard([one for one in entries if one.state == NEW])
        if not heard:
            return PersonDone(name, entries)
        person = Person(name, None, self._wishes.consent, self._wishes.galleries)
        if self._nearest is None:
            self._nearest = self._search(heard[0].embedding.size)
        found = self._look(heard, person) if self._wishes.dry_run else self._enrol(heard, fresh, person)
        blocking = "; ".join(one.why for one in found if one.blocks)
        for one in fresh:
            one.set(REVIEW if blocking else ENROLLED, blocking)
        return PersonDone(name, entries, found)

    def _heard(self, entries: Sequence[Entry]) -> tuple[list[Embedded], list[Entry]]:
        """Embeddings, and whose they are; recordings that are no good are marked as failed."""
        heard, fresh = [], []
        sources = [(one.origin, marked_source(one)) for one in entries]
        options = EmbedOptions(self._wishes.batch_size)
        results = embed(sources, self._embedder, options)
        for entry, (_, source), result in zip(entries, sources, results, strict=True):
            if isinstance(result, AudioError):
                why = result.why.removeprefix(f"{source.origin}: ").removeprefix(f"{entry.origin}: ")
                entry.set(FAILED, why)
                continue
            entry.speech_s = result.heard.speech.speech_s
            if self._wishes.gates.quality and result.heard.speech.reasons:
                entry.set(FAILED, "; ".join(result.heard.speech.reasons))
                continue
            heard.append(result)
            fresh.append(entry)
        return heard, fresh

    def _enrol(
        self, heard: Sequence[Embedded], fresh: Sequence[Entry], person: Person
    ) -> tuple[Finding, ...]:
        folder = self._store.settings()["audio_folder"]
        kept = keep(folder, [marked_source(one) for one in fresh])
        whole = Person(person.name, None, person.consent, person.galleries, kept)
        gates_ = self._wishes.gates
        done = enrolment.enrol(self._store, heard, self._threshold, gates_, whole, self._nearest)
        return done.findings

    def _look(self, heard: Sequence[Embedded], person: Person) -> tuple[Finding, ...]:
        """What the gates find; people who would be enrolled by then count as if they were."""
        chosen, threshold = self._wishes.gates, self._threshold
        found = enrolment.examine(self._store, heard, threshold, chosen, person, self._nearest)
        embeddings = np.stack([one.embedding for one in heard])
        if chosen.duplicates != gates.OFF and threshold.score is not None and self._would_be:
            matrix = np.stack(list(self._would_be.values()))
            scores = np.mean([threshold.score_models(matrix, one) for one in embeddings], axis=0)
            like = gates.sounds_like(dict(zip(self._would_be, scores.tolist(), strict=True)), threshold.score)
            blocks = chosen.duplicates == gates.REVIEW
            found = (*found, *(Finding("duplicate", why, blocks) for why in like))
        if not any(one.blocks for one in found) and self._store.find(str(person.name)) is None:
            self._would_be[str(person.name)] = unit(threshold.directions(embeddings).mean(axis=0)[None])[0]
        return found


def make_galleries(store: VoiceprintStore, galleries: Sequence[str]) -> None:
    """Make those that are not there.

    Raises:
        DataError: a name that cannot be one.
    """
    for gallery in dict.fromkeys(galleries):
        if gallery not in store.galleries():
            store.add_gallery(gallery)


def enrol_vectors(
    store: VoiceprintStore,
    entries: Sequence[tuple[Entry, Float32Array]],
    model: tuple[str, str],
    wishes: Wishes,
) -> Iterator[PersonDone]:
    """Enrol embeddings that were made elsewhere, a person at a time; no gate can listen to them.

    Args:
        store: where.
        entries: one for each vector.
        model: ``content_hash`` and name of the model that made them.
        wishes: how; its gates are not used.

    Raises:
        DataError: the store refuses, for instance a vector of another size than the model's.
    """
    vectors = {id(entry): vector for entry, vector in entries}
    for entry, vector in entries:
        entry.digest = digest_of(vector, f"embedding of {model[0]}")
    people = sorted_out([entry for entry, _ in entries], store, model[0])
    if not wishes.dry_run:
        make_galleries(store, wishes.galleries)
    for name, mine in logs.progress(people.items(), "people", len(people)):
        fresh = [one for one in mine if one.state == NEW]
        clips = [
            Voiceprint(
                vectors[id(one)], model[0], marked(one.origin, one.digest), None, model[1],
                consent=wishes.consent,
            )
            for one in fresh
        ]  # fmt: skip
        if clips and not wishes.dry_run:
            store.enrol(clips, name=name, galleries=wishes.galleries)
        for one in fresh:
            one.set(ENROLLED, "")
        yield PersonDone(name, mine)
