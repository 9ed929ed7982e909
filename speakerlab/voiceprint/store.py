"""The voiceprint store: speakers, clips, galleries and an audit, in SQLite or PostgreSQL.

``with VoiceprintStore.open("voiceprints.db") as store: store.enrol([voiceprint], name="Ann Smith")``.
What a method returned is on the disk. Threads may share a store; each process opens its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from speakerlab.errors import DataError
from speakerlab.voiceprint import schema
from speakerlab.voiceprint.database import Database, connect, is_url
from speakerlab.voiceprint.reading import ALL, DEFAULTS
from speakerlab.voiceprint.records import (
    ENROLLED,
    REVIEW,
    WITHDRAWN,
    Enrolment,
    Speaker,
    Voiceprint,
    normalised,
)
from speakerlab.voiceprint.writing import StoreWriter

ENROL = "run: speakerlab enroll NAME AUDIO"


class VoiceprintStore(StoreWriter):
    """An open store; ``open`` makes one."""

    @classmethod
    def open(
        cls,
        location: str | Path,
        *,
        create: bool = True,
        actor: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> VoiceprintStore:
        """The store at ``location``: a file, or a ``postgresql://`` URL.

        Args:
            location: where it is.
            create: make one where there is none.
            actor: who acts, for the audit; None for the user of the system.
            clock: seconds since 1970.

        Raises:
            DataError: none there and none to be made; another program's file, a folder, another version.
            MissingExtraError: psycopg is not installed.
        """
        _refuse_folder(location)
        if not create and not is_url(location) and not Path(location).exists():
            _refuse_folder(Path(location).with_suffix(""), f"{location} is not there, and this ")
            raise DataError(location, "nobody is enrolled here", ENROL)
        database = connect(location)
        try:
            _set_up(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database, actor, clock)

    def acting_as(self, actor: str) -> VoiceprintStore:
        """The same store, through the same connection, for another actor."""
        return VoiceprintStore(self.database, actor, self.clock)

    def close(self) -> None:
        """Close the connection; may be repeated."""
        self.database.close()

    def __enter__(self) -> VoiceprintStore:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set(self, **settings: Any) -> None:
        """Change settings: ``consent_required``, ``review_cap``, ``audio_folder``, see ``settings``.

        Raises:
            DataError: there is no such setting; a limit below 0.
        """
        if unknown := set(settings) - set(DEFAULTS):
            raise DataError(self.where, f"there is no setting {min(unknown)!r}")
        if not 0 <= settings.get("review_cap", 0) < ALL:
            raise DataError(self.where, f"{settings['review_cap']} clips are no limit", "use 0 or more")
        with self.change() as revision:
            for key, value in settings.items():
                self.database.run("DELETE FROM settings WHERE key = ?", key)
                self.database.run("INSERT INTO settings VALUES (?, ?)", key, json.dumps(value))
            self.record(revision, "settings", {})

    def add_speaker(self, name: str, galleries: Sequence[str] = ()) -> Speaker:
        """A new speaker without clips.

        Raises:
            DataError: a name that cannot be one, or is taken; a gallery that is not there.
        """
        with self.change() as revision:
            speaker_id = self.insert_speaker(name, revision)
            self.put_into([speaker_id], galleries)
            self.record(revision, "add", {speaker_id: 0})
        return self.speaker(speaker_id)

    def rename(self, speaker_id: str, name: str) -> None:
        """Give a speaker another display name.

        Raises:
            DataError: no such speaker; a name that cannot be one, or is taken.
        """
        with self.change() as revision:
            self.speaker(speaker_id)
            spelled = self.free_name(name, speaker_id)
            self.database.run(
                "UPDATE speakers SET name = ?, revision = ? WHERE id = ?", spelled, revision, speaker_id
            )
            self.record(revision, "rename", {speaker_id: 0})

    def enrol(
        self,
        voiceprints: Sequence[Voiceprint],
        *,
        name: str | None = None,
        speaker_id: str | None = None,
        galleries: Sequence[str] = (),
        review: Sequence[str] = (),
    ) -> Enrolment:
        """Add clips to a speaker, all or none, in one transaction.

        Args:
            voiceprints: the clips.
            name: the speaker, who is made where there is none of that name.
            speaker_id: or the speaker's id.
            galleries: which to join.
            review: why the clips go to the review list; empty enrols them.

        Raises:
            DataError: embeddings that cannot be compared, a consent that is missing or over, a full review
                list, no such speaker or gallery, a name that cannot be one.
        """
        with self.change() as revision:
            speaker_id = self.person(name, speaker_id, revision)
            clip_ids = self.insert_clips(speaker_id, voiceprints, revision, galleries, review)
            if not review:
                self.put_into([speaker_id], galleries)
            self.record(revision, "review" if review else "enrol", {speaker_id: len(clip_ids)})
            number = self.speaker(speaker_id).num_clips
        state = REVIEW if review else ENROLLED
        return Enrolment(speaker_id, clip_ids, state, revision, number)

    def replace(self, speaker_id: str, old: Sequence[str], voiceprints: Sequence[Voiceprint]) -> Enrolment:
        """New clips in place of old ones, which are withdrawn, in one transaction: a correction.

        Raises:
            DataError: as ``enrol`` and ``withdraw``; an old clip of another speaker.
        """
        with self.change() as revision:
            owners = self.set_state(old, (ENROLLED, REVIEW), WITHDRAWN, revision)
            if set(owners) - {speaker_id}:
                raise DataError(self.where, f"a clip to replace is not of speaker {speaker_id!r}")
            clip_ids = self.insert_clips(speaker_id, voiceprints, revision, (), ())
            self.record(revision, "replace", {speaker_id: len(clip_ids) + len(old)})
            number = self.speaker(speaker_id).num_clips
        return Enrolment(speaker_id, clip_ids, ENROLLED, revision, number)

    def withdraw(self, clip_ids: Sequence[str]) -> None:
        """Take clips out of use; they stay until ``erasure.retain`` removes them.

        Raises:
            DataError: a clip that is not there, or is withdrawn already.
        """
        with self.change() as revision:
            owners = self.set_state(clip_ids, (ENROLLED, REVIEW), WITHDRAWN, revision)
            self.record(revision, "withdraw", owners)

    def accept(self, clip_ids: Sequence[str]) -> None:
        """Enrol clips of the review list, and their speakers in the galleries that were wanted.

        Raises:
            DataError: a clip that is not on the review list; a gallery that is gone.
        """
        with self.change() as revision:
            owners = self.set_state(clip_ids, (REVIEW,), ENROLLED, revision)
            for clip_id in clip_ids:
                ((speaker_id, review),) = self.database.rows(
                    "SELECT speaker, review FROM clips WHERE id = ?", clip_id
                )
                self.put_into([speaker_id], json.loads(review)["galleries"])
            self.record(revision, "accept", owners)

    def add_gallery(self, name: str) -> None:
        """A new, empty gallery.

        Raises:
            DataError: a name that cannot be one, or is taken.
        """
        spelled = normalised(name, self.where)
        with self.change() as revision:
            if self.database.rows("SELECT name FROM galleries WHERE name = ?", spelled):
                raise DataError(self.where, f"there is a gallery {spelled!r} already")
            self.database.run("INSERT INTO galleries VALUES (?)", spelled)
            self.record(revision, "add gallery", {}, spelled)

    def remove_gallery(self, name: str) -> None:
        """Remove a gallery; its speakers stay.

        Raises:
            DataError: there is none of that name.
        """
        with self.change() as revision:
            spelled = self.gallery(name)
            sql = (
                "UPDATE speakers SET revision = ? WHERE id IN (SELECT speaker FROM members WHERE gallery = ?)"
            )
            self.database.run(sql, revision, spelled)
            self.database.run("DELETE FROM members WHERE gallery = ?", spelled)
            self.database.run("DELETE FROM galleries WHERE name = ?", spelled)
            self.record(revision, "remove gallery", {}, spelled)

    def join(self, gallery: str, speaker_ids: Sequence[str]) -> None:
        """Put speakers into a gallery; who is there already stays.

        Raises:
            DataError: no such gallery or speaker.
        """
        with self.change() as revision:
            self.put_into(speaker_ids, [gallery])
            self.record(revision, "join", dict.fromkeys(speaker_ids, 0), self.gallery(gallery))

    def leave(self, gallery: str, speaker_ids: Sequence[str]) -> None:
        """Take speakers out of a gallery; who is not there is no error.

        Raises:
            DataError: no such gallery or speaker.
        """
        with self.change() as revision:
            spelled = self.gallery(gallery)
            for speaker_id in speaker_ids:
                self.speaker(speaker_id)
                sql = "DELETE FROM members WHERE gallery = ? AND speaker = ?"
                self.database.run(sql, spelled, speaker_id)
            self.record(revision, "leave", dict.fromkeys(speaker_ids, 0), spelled)


def _refuse_folder(location: str | Path, prefix: str = "") -> None:
    if is_url(location) or not Path(location).is_dir():
        return
    if any(Path(location).glob("*.json")):
        why = f"{prefix}is a folder of JSON files, as earlier versions wrote"
        raise DataError(location, why, f"run: speakerlab store import {location}")
    if not prefix:
        raise DataError(location, "is a folder", "name a file")


def _set_up(database: Database, *, create: bool) -> None:
    """Make the tables where there are none; refuse those of another version."""
    with database.transaction(write=False):
        found = database.dialect.has_store(database)
    if not found:
        if not create:
            raise DataError(database.where, "nobody is enrolled here", ENROL)
        with database.transaction(write=True):
            database.dialect.prepare(database)
            if not database.dialect.has_store(database):
                for statement in schema.statements(database.dialect):
                    database.run(statement)
                database.run("INSERT INTO store VALUES (1, ?, 0, 0)", schema.VERSION)
    with database.transaction(write=False):
        ((version,),) = database.rows("SELECT version FROM store")
    if version != schema.VERSION:
        why = f"is a voiceprint store of version {version}, and this program reads {schema.VERSION}"
        raise DataError(database.where, why, "use the program that wrote it")
