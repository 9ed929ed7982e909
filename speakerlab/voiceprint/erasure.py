"""Removal from the voiceprint store for good: one person, or what is too old; with a receipt.

``erase(store, speaker_id)`` and ``retain(store, Retention(consent_ended=True))`` -> a receipt for JSON: what
was removed, when, and what a query for it found afterwards. Exports and backups are not reached.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.voiceprint.audio_folder import SUFFIX, path_of
from speakerlab.voiceprint.store import VoiceprintStore
from speakerlab.voiceprint.writing import REMOVAL_NOTICE_S

ENROLMENT_S = 3600.0  # a kept recording without a clip is left alone so long: its enrolment may be running
NOT_REACHED = "copies made by export or backup, and those of the file system"
_CHECKED = {
    "speakers": "SELECT COUNT(*) FROM speakers WHERE id = ?",
    "clips": "SELECT COUNT(*) FROM clips WHERE speaker = ?",
    "galleries": "SELECT COUNT(*) FROM members WHERE speaker = ?",
}


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept no longer.

    Attributes:
        consent_ended: clips whose consent is over.
        max_age_s: clips that are older than this; None for no limit.
        max_withdrawn_s: clips that were withdrawn longer ago than this; None for no limit.
        max_review_s: clips on the review list for longer than this; None for no limit.
    """

    consent_ended: bool = True
    max_age_s: float | None = None
    max_withdrawn_s: float | None = None
    max_review_s: float | None = None


def erase(store: VoiceprintStore, speaker_id: str) -> dict[str, Any]:
    """Remove a speaker with all clips, memberships and kept audio; returns the receipt.

    The audit keeps its entries under the pseudonym, which nothing ties to the speaker any more. For seven
    days the bare id stays in the list by which other processes hear of the removal.

    Raises:
        DataError: there is no such speaker; a kept recording that cannot be removed.
    """
    store.speaker(speaker_id)
    receipt = _receipt(store, "erasure")
    recordings = _remove_audio(store, {clip.voiceprint.audio for clip in store.clips(speaker_id)})
    with store.change() as revision:
        store.record(revision, "erase", {speaker_id: len(store.clips(speaker_id))})
        counts = _remove_speaker(store, speaker_id, revision)
    return {
        **receipt,
        "speaker_id": speaker_id,
        "revision": revision,
        "removed": {**counts, "recordings": recordings},
        **_verified(store, [speaker_id]),
        "id_in_removal_list_until": _iso(store.clock() + REMOVAL_NOTICE_S),
    }


def retain(store: VoiceprintStore, rules: Retention) -> dict[str, Any]:
    """Remove clips by ``rules``, and speakers that have none left by it; returns the receipt.

    Kept recordings that no clip names, as a killed enrolment leaves them, go too.

    Raises:
        DataError: a kept recording that cannot be removed.
    """
    receipt = _receipt(store, "retention")
    counts, gone, due = {"speakers": 0, "clips": 0, "galleries": 0}, [], _due(store, rules)
    if due:
        with store.change() as revision:
            due = _due(store, rules)  # nobody else writes now
            store.record(revision, "retention", _numbers(due))
            gone = _remove_clips(store, due)
            counts["clips"] = len(due)
            for speaker_id in gone:
                for what, number in _remove_speaker(store, speaker_id, revision).items():
                    counts[what] += number
    recordings = _remove_audio(store, _unnamed(store, {audio for _, _, audio in due}))
    return {
        **receipt,
        "revision": store.revision,
        "removed": {**counts, "recordings": recordings},
        **_verified(store, gone, [clip_id for clip_id, _, _ in due]),
    }


def _due(store: VoiceprintStore, rules: Retention) -> list[tuple[str, str, str | None]]:
    """(clip, speaker, kept audio) of what is kept no longer."""
    now = store.clock()
    conditions = {
        "consent_end_s <= ?": now if rules.consent_ended else None,
        "added_s < ?": None if rules.max_age_s is None else now - rules.max_age_s,
        "withdrawn_s < ?": None if rules.max_withdrawn_s is None else now - rules.max_withdrawn_s,
        "state = 'review' AND added_s < ?": None if rules.max_review_s is None else now - rules.max_review_s,
    }
    wanted = {sql: value for sql, value in conditions.items() if value is not None}
    if not wanted:
        return []
    sql = (
        f"SELECT id, speaker, audio FROM clips WHERE {' OR '.join(f'({one})' for one in wanted)} ORDER BY id"
    )
    return [
        (clip_id, speaker, audio) for clip_id, speaker, audio in store.database.rows(sql, *wanted.values())
    ]


def _numbers(due: Sequence[tuple[str, str, str | None]]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for _, speaker_id, _ in due:
        numbers[speaker_id] = numbers.get(speaker_id, 0) + 1
    return numbers


def _remove_clips(store: VoiceprintStore, due: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """Remove the clips; those of their speakers who have none left."""
    store.database.run_many("DELETE FROM clips WHERE id = ?", [(clip_id,) for clip_id, _, _ in due])
    count = _CHECKED["clips"]
    return [speaker for speaker in _numbers(due) if not store.database.rows(count, speaker)[0][0]]


def _remove_speaker(store: VoiceprintStore, speaker_id: str, revision: int) -> dict[str, int]:
    """Remove the rows; how many there were."""
    counts = {
        "galleries": store.database.run("DELETE FROM members WHERE speaker = ?", speaker_id),
        "clips": store.database.run("DELETE FROM clips WHERE speaker = ?", speaker_id),
        "speakers": store.database.run("DELETE FROM speakers WHERE id = ?", speaker_id),
    }
    store.database.run("INSERT INTO removed VALUES (?, ?, ?)", speaker_id, revision, store.clock())
    return counts


def _remove_audio(store: VoiceprintStore, stems: Collection[str | None]) -> int:
    """Remove kept recordings; how many there were."""
    folder, number = store.settings()["audio_folder"], 0
    for stem in filter(None, stems) if folder else ():
        path = path_of(folder, stem)
        if path.exists():
            with atomic.writing(path):
                path.unlink()
            number += 1
    return number


def _unnamed(store: VoiceprintStore, stems: Collection[str | None]) -> set[str]:
    """Of ``stems`` and of files that lie there for an hour, those that no clip names."""
    folder = store.settings()["audio_folder"]
    found = set(filter(None, stems))
    for path in Path(folder).glob(f"*{SUFFIX}") if folder else ():
        if path.stat().st_mtime < time.time() - ENROLMENT_S:
            found.add(path.stem)
    with store.database.transaction(write=False):
        named = store.database.rows("SELECT DISTINCT audio FROM clips WHERE audio IS NOT NULL")
    return found - {stem for (stem,) in named}


def _receipt(store: VoiceprintStore, kind: str) -> dict[str, Any]:
    now = _iso(store.clock())
    return {"receipt": uuid.uuid4().hex, "kind": kind, "store": store.where, "time": now, "by": store.actor}


def _verified(
    store: VoiceprintStore, speaker_ids: Sequence[str], clip_ids: Sequence[str] = ()
) -> dict[str, Any]:
    """What queries find of what was removed, which must be nothing, and whether its bytes are gone.

    Raises:
        DataError: something is left.
    """
    overwritten = store.database.overwrite_deleted()
    with store.database.transaction(write=False):
        found = {
            what: sum(int(store.database.rows(sql, one)[0][0]) for one in speaker_ids)
            for what, sql in _CHECKED.items()
        }
        sql = "SELECT COUNT(*) FROM clips WHERE id = ?"
        found["clips"] += sum(int(store.database.rows(sql, one)[0][0]) for one in clip_ids)
    if any(found.values()):
        raise DataError(store.where, f"after the removal a query found {found}", "remove again")
    return {"found_afterwards": found, "bytes_overwritten": overwritten, "not_reached": NOT_REACHED}


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, timezone.utc).isoformat(timespec="seconds")
