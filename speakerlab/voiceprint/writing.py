"""How the voiceprint store writes: one transaction a change, its revision, the audit, rows of clips.

``StoreWriter`` is what the verbs of ``VoiceprintStore`` stand on:
``with writer.change() as revision: ...; writer.record(revision, "enrol", {speaker_id: 2})``.
"""

from __future__ import annotations

import json
import os
import pwd
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from speakerlab.errors import DataError
from speakerlab.voiceprint.database import Database
from speakerlab.voiceprint.reading import StoreReader
from speakerlab.voiceprint.records import (
    ENROLLED,
    REVIEW,
    WITHDRAWN,
    Clip,
    Voiceprint,
    checked,
    normalised,
    printable,
)

REMOVAL_NOTICE_S = 7 * 86400.0  # how long other processes have to hear that a speaker is gone
_INSERT_CLIP = (
    "INSERT INTO clips (id, speaker, model, dim, embedding, source, speech_s, flags, calibration, consent,"
    " consent_start_s, consent_end_s, audio, review, added_s, state, withdrawn_s, revision)"
    f" VALUES ({', '.join('?' * 18)})"
)


class StoreWriter(StoreReader):
    """The writing of rows.

    Args:
        database: the connection.
        actor: who acts, for the audit; None for the user of the system.
        clock: seconds since 1970.
    """

    def __init__(
        self, database: Database, actor: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(database, clock)
        self.actor = _user() if actor is None else actor

    @contextmanager
    def change(self) -> Iterator[int]:
        """A transaction that writes, alone in the whole store; yields its revision.

        The revision is counted up first: PostgreSQL locks its row until the commit, so that revisions are
        committed in their order and a reader of ``changes_since`` misses none.
        """
        with self.database.transaction(write=True):
            self.database.run("UPDATE store SET revision = revision + 1")
            ((revision,),) = self.database.rows("SELECT revision FROM store")
            self._prune()
            yield revision

    def record(
        self, revision: int, action: str, subjects: Mapping[str, int], gallery: str | None = None
    ) -> None:
        """Write to the audit, and mark the subjects as changed; inside ``change``.

        Args:
            revision: of the change.
            action: what was done.
            subjects: number of clips by speaker id.
            gallery: where it was about one.
        """
        touched: list[tuple[str | None, int]] = [*subjects.items()] or [(None, 0)]
        ((start,),) = self.database.rows("SELECT COUNT(*) FROM audit WHERE revision = ?", revision)
        for position, (speaker_id, num_clips) in enumerate(touched, start):
            rows = self.database.rows("SELECT pseudonym FROM speakers WHERE id = ?", speaker_id)
            pseudonym = rows[0][0] if rows else None
            self.database.run(
                f"INSERT INTO audit VALUES ({', '.join('?' * 8)})",
                revision, position, self.clock(), printable(self.actor), action, pseudonym, num_clips,
                gallery,
            )  # fmt: skip
            self.database.run("UPDATE speakers SET revision = ? WHERE id = ?", revision, speaker_id)

    def _prune(self) -> None:
        """Forget who was removed long ago; who last read before must read everything again."""
        before = self.clock() - REMOVAL_NOTICE_S
        ((last,),) = self.database.rows("SELECT MAX(revision) FROM removed WHERE at_s < ?", before)
        if last is not None:
            self.database.run("DELETE FROM removed WHERE at_s < ?", before)
            self.database.run("UPDATE store SET pruned = ? WHERE pruned < ?", last, last)

    def person(self, name: str | None, speaker_id: str | None, revision: int) -> str:
        """The id of a speaker by either; made where a name is new."""
        if (name is None) == (speaker_id is None):
            raise DataError(self.where, "give the name of the speaker or the id, one of them")
        if speaker_id is not None:
            return self.speaker(speaker_id).speaker_id
        found = self.find(str(name))
        return found.speaker_id if found else self.insert_speaker(str(name), revision)

    def free_name(self, name: str, speaker_id: str | None) -> str:
        """The spelling of ``name``, where nobody else than ``speaker_id`` has it.

        Raises:
            DataError: it is taken, or cannot be a name.
        """
        found = self.find(name)
        if found is not None and found.speaker_id != speaker_id:
            raise DataError(self.where, f"there is a speaker called {found.name!r} already")
        return normalised(name, self.where)

    def insert_speaker(
        self, name: str, revision: int, speaker_id: str | None = None, added_s: float | None = None
    ) -> str:
        """A new speaker's id; ``speaker_id`` and ``added_s`` are those that it has already, elsewhere."""
        row = (
            speaker_id or uuid.uuid4().hex,
            self.free_name(name, None),
            uuid.uuid4().hex,
            self.clock() if added_s is None else added_s,
            revision,
        )
        self.database.run("INSERT INTO speakers VALUES (?, ?, ?, ?, ?)", *row)
        return row[0]

    def put_into(self, speaker_ids: Sequence[str], galleries: Sequence[str]) -> None:
        """Make speakers members of galleries, which they may be already.

        Raises:
            DataError: no such gallery or speaker.
        """
        for gallery in map(self.gallery, galleries):
            for speaker_id in speaker_ids:
                self.speaker(speaker_id)
                sql = "SELECT gallery FROM members WHERE gallery = ? AND speaker = ?"
                if not self.database.rows(sql, gallery, speaker_id):
                    self.database.run("INSERT INTO members VALUES (?, ?)", gallery, speaker_id)

    def insert_clips(
        self,
        speaker_id: str,
        voiceprints: Sequence[Voiceprint],
        revision: int,
        galleries: Sequence[str],
        review: Sequence[str],
    ) -> tuple[str, ...]:
        """Ids of new clips, see ``VoiceprintStore.enrol``."""
        self._register(voiceprints)
        self._check_consents(voiceprints)
        if review:
            self._check_room(len(voiceprints))
        why = json.dumps(
            {"reasons": list(map(printable, review)), "galleries": [self.gallery(g) for g in galleries]}
        )
        now, state = self.clock(), REVIEW if review else ENROLLED
        ids = tuple(uuid.uuid4().hex for _ in voiceprints)
        rows = [
            (one, speaker_id, *clip_values(voiceprint), why, now, state, None, revision)
            for one, voiceprint in zip(ids, voiceprints, strict=True)
        ]
        self.database.run_many(_INSERT_CLIP, rows)
        return ids

    def insert_clip(self, clip: Clip, revision: int) -> bool:
        """A clip that has its id already, elsewhere; whether it is new here.

        Raises:
            DataError: an embedding that cannot be compared; the id is another speaker's.
        """
        found = self.database.rows("SELECT speaker FROM clips WHERE id = ?", clip.clip_id)
        if found:
            if found[0][0] != clip.speaker_id:
                raise DataError(self.where, f"clip {clip.clip_id!r} is another speaker's")
            return False
        self._register([clip.voiceprint])
        self._check_consents([clip.voiceprint], of_now=False)
        why = json.dumps({"reasons": clip.review, "galleries": clip.galleries})
        values = clip_values(clip.voiceprint)
        state = (why, clip.added_s, clip.state, clip.withdrawn_s)
        self.database.run(_INSERT_CLIP, clip.clip_id, clip.speaker_id, *values, *state, revision)
        return True

    def _register(self, voiceprints: Sequence[Voiceprint]) -> None:
        """Note new models; refuse embeddings of a known one of another size."""
        for model, (dim, name) in checked(voiceprints, self.where).items():
            known = self.database.rows("SELECT dim FROM models WHERE hash = ?", model)
            if not known:
                self.database.run("INSERT INTO models VALUES (?, ?, ?)", model, dim, printable(name))
            elif known[0][0] != dim:
                why = f"embeddings of this model have {known[0][0]} numbers, and not {dim}"
                raise DataError(self.where, why, "embed again with the model itself")

    def _check_consents(self, voiceprints: Sequence[Voiceprint], *, of_now: bool = True) -> None:
        """Refuse a clip without a consent where one is demanded, and, of now, with one that is over."""
        required, now = self.settings()["consent_required"], self.clock()
        for one in voiceprints:
            if required and one.consent is None:
                raise DataError(self.where, f"{one.source}: this store demands a consent", "give --consent")
            if of_now and one.consent and one.consent.end_s is not None and one.consent.end_s <= now:
                raise DataError(self.where, f"{one.source}: the consent {one.consent.reference!r} is over")

    def _check_room(self, number: int) -> None:
        cap = self.settings()["review_cap"]
        ((waiting,),) = self.database.rows("SELECT COUNT(*) FROM clips WHERE state = 'review'")
        if waiting + number > cap:
            why = f"the review list is full: {waiting} clips wait, {cap} may"
            raise DataError(self.where, why, "accept or withdraw some")

    def set_state(
        self, clip_ids: Sequence[str], before: Sequence[str], after: str, revision: int
    ) -> dict[str, int]:
        """Change the state of clips; how many, by speaker."""
        owners: dict[str, int] = {}
        withdrawn_s = self.clock() if after == WITHDRAWN else None
        for clip_id in clip_ids:
            rows = self.database.rows("SELECT speaker, state FROM clips WHERE id = ?", clip_id)
            if not rows or rows[0][1] not in before:
                what = f"is {rows[0][1]}" if rows else "is not there"
                raise DataError(self.where, f"clip {clip_id!r} {what}")
            self.database.run(
                "UPDATE clips SET state = ?, withdrawn_s = ?, revision = ? WHERE id = ?",
                after, withdrawn_s, revision, clip_id,
            )  # fmt: skip
            owners[rows[0][0]] = owners.get(rows[0][0], 0) + 1
        if not owners:
            raise DataError(self.where, "no clip was named")
        return owners


def clip_values(one: Voiceprint) -> tuple[Any, ...]:
    """``model`` to ``audio`` of a row of clips."""
    vector = np.asarray(one.embedding, "<f4")
    consent = one.consent
    period = (printable(consent.reference), consent.start_s, consent.end_s) if consent else (None, None, None)
    speech_s = None if one.speech_s is None else float(one.speech_s)
    flags = json.dumps([printable(flag) for flag in one.flags], ensure_ascii=False)
    source = printable(one.source)
    return (
        one.model, vector.size, vector.tobytes(), source, speech_s, flags, one.calibration, *period,
        one.audio,
    )  # fmt: skip


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
