"""What is read from the voiceprint store: speakers, clips, speaker models, changes, the audit.

``StoreReader`` is the reading half of ``VoiceprintStore``:
``store.models(bundle.content_hash, threshold.directions)`` -> an ``EmbeddingTable`` by speaker id.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, Float32Array, Float64Array
from speakerlab.voiceprint.database import Database
from speakerlab.voiceprint.records import (
    REVIEW,
    AuditEntry,
    Changes,
    Clip,
    Consent,
    Speaker,
    Voiceprint,
    normalised,
)

# from embeddings [N, E] as the network gave them to directions [N, E]: ``Threshold.directions``
Directions: TypeAlias = Callable[[Float32Array], Float64Array]
ALL = 2**62  # rows, where no limit is wanted
PAGE = 5000  # speakers read at once
TINY = 1e-9  # length of a mean of directions that point nowhere
CLIP_COLUMNS = (
    "c.id, c.speaker, c.embedding, c.model, c.source, c.speech_s, m.name, c.flags, c.calibration,"
    " c.consent, c.consent_start_s, c.consent_end_s, c.audio, c.state, c.review, c.added_s, c.withdrawn_s"
)
_SPEAKERS = """SELECT s.id, s.name, s.added_s,
    (SELECT COUNT(*) FROM clips c WHERE c.speaker = s.id AND c.state = 'enrolled'),
    (SELECT COUNT(*) FROM clips c WHERE c.speaker = s.id AND c.state = 'review') FROM speakers s"""
_IN_FORCE = (
    "state = 'enrolled' AND (consent_start_s IS NULL OR consent_start_s <= ?)"
    " AND (consent_end_s IS NULL OR consent_end_s > ?)"
)
DEFAULTS: dict[str, Any] = {"consent_required": False, "review_cap": 1000, "audio_folder": None}


class StoreReader:
    """The reading half of the store.

    Args:
        database: the connection.
        clock: seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database, self.clock = database, clock

    @property
    def where(self) -> str:
        """The file or URL, without a password, for messages."""
        return self.database.where

    @property
    def revision(self) -> int:
        """Grows with every committed change."""
        with self.database.transaction(write=False):
            return int(self.database.rows("SELECT revision FROM store")[0][0])

    def settings(self) -> dict[str, Any]:
        """``consent_required``, ``review_cap`` in clips, ``audio_folder`` or None."""
        with self.database.transaction(write=False):
            rows = self.database.rows("SELECT key, value FROM settings")
        return {**DEFAULTS, **{key: json.loads(value) for key, value in rows}}

    def speakers(self, gallery: str | None = None, *, after: str = "", limit: int = ALL) -> list[Speaker]:
        """Speakers in order of the names; ``after`` a name, at most ``limit``: the next page.

        Raises:
            DataError: there is no such gallery.
        """
        with self.database.transaction(write=False):
            name = None if gallery is None else self.gallery(gallery)
            chosen = "" if name is None else " AND s.id IN (SELECT speaker FROM members WHERE gallery = ?)"
            values = [after, *([] if name is None else [name]), limit]
            sql = f"{_SPEAKERS} WHERE s.name > ?{chosen} ORDER BY s.name LIMIT ?"
            return [Speaker(*row) for row in self.database.rows(sql, *values)]

    def speaker(self, speaker_id: str) -> Speaker:
        """The speaker of that id.

        Raises:
            DataError: there is none.
        """
        with self.database.transaction(write=False):
            rows = self.database.rows(f"{_SPEAKERS} WHERE s.id = ?", speaker_id)
        if not rows:
            raise DataError(self.where, f"there is no speaker {speaker_id!r}")
        return Speaker(*rows[0])

    def find(self, name: str) -> Speaker | None:
        """The speaker of that name, however it was typed; None where there is none.

        Raises:
            DataError: it cannot be a name.
        """
        spelled = normalised(name, self.where)
        with self.database.transaction(write=False):
            rows = self.database.rows(f"{_SPEAKERS} WHERE s.name = ?", spelled)
        return Speaker(*rows[0]) if rows else None

    def names(self) -> dict[str, str]:
        """Names by speaker id."""
        with self.database.transaction(write=False):
            return dict(self.database.rows("SELECT id, name FROM speakers"))

    def clips(
        self, speaker_id: str | None = None, state: str | None = None, *, limit: int = ALL
    ) -> list[Clip]:
        """Clips, of one speaker and in one state where given, oldest first."""
        wanted = {"c.speaker": speaker_id, "c.state": state}
        given = {column: value for column, value in wanted.items() if value is not None}
        chosen = " AND ".join(f"{column} = ?" for column in given)
        sql = (
            f"SELECT {CLIP_COLUMNS} FROM clips c JOIN models m ON m.hash = c.model"
            f"{' WHERE ' + chosen if chosen else ''} ORDER BY c.added_s, c.id LIMIT ?"
        )
        with self.database.transaction(write=False):
            return [clip_of(row) for row in self.database.rows(sql, *given.values(), limit)]

    def clip(self, clip_id: str) -> Clip | None:
        """The clip of that id; None where there is none."""
        sql = f"SELECT {CLIP_COLUMNS} FROM clips c JOIN models m ON m.hash = c.model WHERE c.id = ?"
        with self.database.transaction(write=False):
            rows = self.database.rows(sql, clip_id)
        return clip_of(rows[0]) if rows else None

    def review(self, limit: int = ALL) -> list[Clip]:
        """The review list, oldest first."""
        return self.clips(state=REVIEW, limit=limit)

    def galleries(self) -> dict[str, int]:
        """How many speakers each gallery has, in order of the names."""
        sql = (
            "SELECT g.name, (SELECT COUNT(*) FROM members m WHERE m.gallery = g.name)"
            " FROM galleries g ORDER BY g.name"
        )
        with self.database.transaction(write=False):
            return dict(self.database.rows(sql))

    def gallery(self, name: str) -> str:
        """The spelling of a gallery that exists.

        Raises:
            DataError: there is none of that name.
        """
        spelled = normalised(name, self.where)
        with self.database.transaction(write=False):
            if not self.database.rows("SELECT name FROM galleries WHERE name = ?", spelled):
                raise DataError(self.where, f"there is no gallery {spelled!r}")
        return spelled

    def num_without(self, model: str) -> int:
        """How many speakers have enrolled clips, and none of them of ``model``."""
        sql = (
            "SELECT COUNT(DISTINCT speaker) FROM clips WHERE state = 'enrolled' AND speaker NOT IN"
            " (SELECT speaker FROM clips WHERE state = 'enrolled' AND model = ?)"
        )
        with self.database.transaction(write=False):
            return int(self.database.rows(sql, model)[0][0])

    def models(
        self,
        model: str,
        directions: Directions,
        *,
        gallery: str | None = None,
        speaker_ids: Sequence[str] | None = None,
    ) -> EmbeddingTable:
        """Speaker models, float32 [P, E] of length 1, by speaker id, in its order.

        A speaker model is the mean of the directions of the clips, of length 1 again. Clips of another
        model, on the review list, withdrawn, or outside of their consent's period do not count, and a
        speaker without others has no row.

        Args:
            model: ``content_hash`` of the model.
            directions: how its embeddings are compared, see ``Directions``.
            gallery: of these speakers only.
            speaker_ids: of these only, where they are there.

        Raises:
            DataError: there is no such gallery.
        """
        pages = self._pages_of(speaker_ids) if speaker_ids is not None else self._pages(PAGE)
        if gallery is not None:
            gallery = self.gallery(gallery)
        with self.database.transaction(write=False):
            tables = [self._models(model, directions, page, gallery) for page in pages]
        ids = tuple(one for table in tables for one in table.ids)
        filled = [table.matrix for table in tables if table.ids]
        return EmbeddingTable(ids, np.concatenate(filled) if filled else _NOBODY, self.where)

    def model_pages(self, model: str, directions: Directions, page: int = PAGE) -> Iterator[EmbeddingTable]:
        """``models`` of everybody, ``page`` speakers at a time, in flat memory.

        Other processes may write meanwhile: ask for ``changes_since`` of before the first page afterwards.
        """
        for bounds in self._pages(page):
            with self.database.transaction(write=False):
                table = self._models(model, directions, bounds, None)
            if table.ids:
                yield table

    def _pages(self, size: int) -> Iterator[tuple[str, list[Any]]]:
        """Conditions on ``speaker`` that cover everybody, ``size`` speakers each."""
        last = ""
        while True:
            sql = "SELECT id FROM speakers WHERE id > ? ORDER BY id LIMIT ?"
            with self.database.transaction(write=False):
                ids = self.database.rows(sql, last, size)
            if not ids:
                return
            yield "speaker > ? AND speaker <= ?", [last, ids[-1][0]]
            last = ids[-1][0]

    @staticmethod
    def _pages_of(speaker_ids: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
        ids = sorted(set(speaker_ids))
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            yield f"speaker IN ({', '.join('?' * len(part))})", list(part)

    def _models(
        self, model: str, directions: Directions, page: tuple[str, list[Any]], gallery: str | None
    ) -> EmbeddingTable:
        condition, values = page
        now = self.clock()
        member = "" if gallery is None else " AND speaker IN (SELECT speaker FROM members WHERE gallery = ?)"
        rows = self.database.rows(
            f"SELECT speaker, embedding FROM clips WHERE {condition} AND model = ? AND {_IN_FORCE}{member}"
            " ORDER BY speaker, added_s, id",
            *values, model, now, now, *([] if gallery is None else [gallery]),
        )  # fmt: skip
        return speaker_models(rows, directions, self.where)

    def changes_since(self, revision: int, time_s: float | None = None) -> Changes:
        """Whose models to read again, and whose to drop, after ``revision``; 0 for everything.

        Args:
            revision: ``Changes.revision`` of the last call.
            time_s: ``Changes.time_s`` of the last call; without it, consents that begin or end are not told.
        """
        with self.database.transaction(write=False):
            ((current, pruned),) = self.database.rows("SELECT revision, pruned FROM store")
            now = self.clock()
            changed = {
                i for (i,) in self.database.rows("SELECT id FROM speakers WHERE revision > ?", revision)
            }
            for column in ("consent_start_s", "consent_end_s") if time_s is not None else ():
                sql = f"SELECT DISTINCT speaker FROM clips WHERE {column} > ? AND {column} <= ?"
                changed |= {speaker for (speaker,) in self.database.rows(sql, time_s, now)}
            sql = "SELECT speaker FROM removed WHERE revision > ? ORDER BY speaker"
            removed = tuple(speaker for (speaker,) in self.database.rows(sql, revision))
        is_complete = revision == 0 or pruned <= revision <= current
        return Changes(current, now, tuple(sorted(changed)), removed, is_complete)

    def audit(self, since: int = 0, *, speaker_id: str | None = None, limit: int = ALL) -> list[AuditEntry]:
        """Entries of revisions after ``since``, oldest first, of one speaker where given."""
        chosen = " AND s.id = ?" if speaker_id is not None else ""
        sql = (
            "SELECT a.revision, a.at_s, a.actor, a.action, s.id, a.pseudonym, a.num_clips, a.gallery"
            " FROM audit a LEFT JOIN speakers s ON s.pseudonym = a.pseudonym"
            f" WHERE a.revision > ?{chosen} ORDER BY a.revision, a.position LIMIT ?"
        )
        values = [since, *([speaker_id] if speaker_id is not None else []), limit]
        with self.database.transaction(write=False):
            return [AuditEntry(*row) for row in self.database.rows(sql, *values)]


_NOBODY = np.zeros((0, 0), np.float32)


def speaker_models(rows: Sequence[tuple[str, bytes]], directions: Directions, where: str) -> EmbeddingTable:
    """Speaker models of ``rows``, (speaker id, embedding) of one model, sorted by speaker."""
    if not rows:
        return EmbeddingTable((), _NOBODY, where)
    embeddings = np.frombuffer(b"".join(blob for _, blob in rows), "<f4").reshape(len(rows), -1)
    ids = np.array([speaker for speaker, _ in rows])
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    sums = np.add.reduceat(directions(embeddings), starts, axis=0)
    means = sums / np.diff(np.append(starts, len(rows)))[:, None]
    lengths = np.linalg.norm(means, axis=1)
    usable = lengths > TINY
    for speaker in ids[starts][~usable]:
        logging.warning("%s: the clips of speaker %s cancel out; enrol again", where, speaker)
    matrix = (means[usable] / lengths[usable, None]).astype(np.float32)
    return EmbeddingTable(tuple(ids[starts][usable].tolist()), matrix, where)


def clip_of(row: Sequence[Any]) -> Clip:
    """The clip of a row of ``CLIP_COLUMNS``."""
    clip_id, speaker, blob, model, source, speech_s, model_name, flags, calibration, *rest = row
    reference, start_s, end_s, audio, state, review, added_s, withdrawn_s = rest
    voiceprint = Voiceprint(
        np.frombuffer(blob, "<f4").astype(np.float32),
        model,
        source,
        speech_s,
        model_name,
        tuple(json.loads(flags)),
        calibration,
        None if reference is None else Consent(reference, start_s, end_s),
        audio,
    )
    why = json.loads(review)
    reasons, galleries = tuple(why["reasons"]), tuple(why["galleries"])
    return Clip(clip_id, speaker, voiceprint, state, reasons, galleries, added_s, withdrawn_s)
