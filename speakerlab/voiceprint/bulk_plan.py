"""What a listing would do to a store, recording by recording: known already, listed twice, unreadable, new.

``plan(listing, store, model_hash)`` -> ``{"Ann": [Entry(...), ...]}``. A recording is known by the hash of
its samples, which the store keeps in the clip's source: ``ann.wav [sha256:...]``; so no rerun enrols it
again, under whatever name or format the file lies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from speakerlab import logs
from speakerlab.errors import AudioError
from speakerlab.io import audio
from speakerlab.pipeline.sources import Source
from speakerlab.types import Float32Array
from speakerlab.voiceprint.records import ENROLLED, REVIEW, WITHDRAWN, printable
from speakerlab.voiceprint.sources.listing import Item, Listing
from speakerlab.voiceprint.store import VoiceprintStore

# states of an entry: new becomes enrolled or review; review, withdrawn and failed are what is not enrolled
NEW, KNOWN, REPEATED, FAILED = "new", "known", "repeated", "failed"
BATCH = 10_000  # rows of the store read at once
_MARK = re.compile(r" \[sha256:([0-9a-f]{64})\]\Z")


@dataclass(slots=True)
class Entry:
    """One recording on its way into the store.

    Attributes:
        item: which.
        digest: of its content; empty where it cannot be read.
        state: ``new``, ``known``, ``repeated``, ``failed``, ``review``, ``withdrawn`` or ``enrolled``.
        why: in words, where it is not enrolled.
        speech_s: seconds of speech, once it was listened to.
    """

    item: Item
    digest: str = ""
    state: str = NEW
    why: str = ""
    speech_s: float | None = None

    @property
    def origin(self) -> str:
        """Where the recording is."""
        return self.item.source.origin

    def set(self, state: str, why: str) -> None:
        """The state, and why."""
        self.state, self.why = state, why


@dataclass(frozen=True, slots=True)
class Kept:
    """A clip of the store, as far as it matters here."""

    name: str
    model: str
    state: str


def digest_of(array: Float32Array, kind: str) -> str:
    """Hash of numbers; ``kind`` keeps apart what is equal by chance."""
    digest = hashlib.sha256(f"{kind} ".encode())
    digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def content_digest(source: Source) -> str:
    """Hash of the samples that are listened to: those of the first channel, whatever file holds them.

    Raises:
        AudioError: the recording cannot be used.
    """
    found = source.read()
    if not isinstance(found, audio.Channels):
        return digest_of(found, "features")
    waveform = audio.one_channel(source.origin, found, 0)
    return digest_of(waveform.samples, f"{waveform.sample_rate} Hz")


def marked(origin: str, digest: str) -> str:
    """What a clip keeps as its source."""
    return f"{origin} [sha256:{digest}]"


def marked_source(entry: Entry) -> Source:
    """The recording, called as the store will know it; what changed since the plan is refused."""
    return Source(marked(entry.origin, entry.digest), partial(_read_again, entry))


def _read_again(entry: Entry) -> audio.Channels | Float32Array:
    found = entry.item.source.read()
    if content_digest(Source(entry.origin, lambda: found)) != entry.digest:
        raise AudioError(entry.origin, "was changed meanwhile; run this again")
    return found


def plan(listing: Listing, store: VoiceprintStore | None, model: str) -> dict[str, list[Entry]]:
    """Entries of each person, in order of the names, after all recordings were read once.

    Args:
        listing: what a source lists.
        store: where they would be enrolled; None for one that is not there yet.
        model: ``content_hash`` of the model.
    """
    entries = [Entry(item) for item in listing.items]
    for entry in logs.progress(entries, "recordings read", len(entries)):
        try:
            entry.digest = content_digest(entry.item.source)
        except AudioError as error:
            entry.set(FAILED, error.why.removeprefix(f"{entry.origin}: "))
    return sorted_out(entries, store, model)


def sorted_out(entries: Sequence[Entry], store: VoiceprintStore | None, model: str) -> dict[str, list[Entry]]:
    """Entries, whose digests are set, by person; those that are not new have another state."""
    owners: dict[str, set[str]] = {}
    for one in entries:
        owners.setdefault(one.digest, set()).add(one.item.name)
    kept = _kept(store, entries) if store else {}
    first: dict[tuple[str, str], Entry] = {}
    people: dict[str, list[Entry]] = {}
    for one in entries:
        people.setdefault(one.item.name, []).append(one)
        if one.state == NEW:
            _judge(one, kept.get(one.digest, []), owners[one.digest], model)
        if one.state == NEW:
            before = first.setdefault((one.item.name, one.digest), one)
            if before is not one:
                one.set(REPEATED, f"has the same content as {before.origin}")
    return dict(sorted(people.items()))


def _judge(entry: Entry, kept: Sequence[Kept], owners: set[str], model: str) -> None:
    """Set the state of an entry whose content is in the store, or is listed for several people."""
    name = entry.item.name
    states = {one.state for one in kept if (one.name, one.model) == (name, model)}
    others = sorted({one.name for one in kept if one.name != name and one.state != WITHDRAWN})
    if ENROLLED in states:
        entry.set(KNOWN, "is enrolled already")
    elif REVIEW in states:
        entry.set(REVIEW, "is on the review list already")
    elif WITHDRAWN in states:
        entry.set(WITHDRAWN, "was withdrawn; 'speakerlab enroll' enrols it again")
    elif others:
        entry.set(FAILED, f"the same recording is enrolled as {others[0]!r}")
    elif len(owners) > 1:
        listed = ", ".join(repr(one) for one in sorted(owners - {name})[:3])
        entry.set(FAILED, f"the same recording is listed for {listed} too")


def _kept(store: VoiceprintStore, entries: Iterable[Entry]) -> Mapping[str, list[Kept]]:
    """Clips with the content of an entry, by its digest; clips of other commands are known by their path."""
    digests = {one.digest for one in entries if one.digest}
    by_path = {(one.item.name, printable(one.origin)): one.digest for one in entries if one.digest}
    found: dict[str, list[Kept]] = {}
    sql = "SELECT s.name, c.model, c.state, c.source FROM clips c JOIN speakers s ON s.id = c.speaker"
    with store.database.transaction(write=False):
        for rows in store.database.batches(sql, BATCH):
            for name, model, state, source in rows:
                mark = _MARK.search(source)
                digest = mark[1] if mark else by_path.get((name, source))
                if digest in digests:
                    found.setdefault(str(digest), []).append(Kept(name, model, state))
    return found
