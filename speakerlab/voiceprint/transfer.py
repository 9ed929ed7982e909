"""Voiceprints in and out of a store: export and import as JSON lines, backups of everything.

``export(store, Path("people.jsonl"))``; ``load(store, Path("people.jsonl"))``, or a folder of JSON files of
earlier versions; ``back_up(store, "copy.db")``, or an empty PostgreSQL database.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.voiceprint import json_folder, schema
from speakerlab.voiceprint.database import is_url
from speakerlab.voiceprint.records import ENROLLED, REVIEW, WITHDRAWN, Clip, Consent, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

# JSON lines, because they stream in flat memory, hold names of any script, and no reader runs code in them.
# An embedding is the base64 of its little-endian float32, so that every bit comes back. The last line counts
# what stands before it: a file that was cut off is refused.
FORMAT, VERSION = "speakerlab voiceprints", 1
MAX_LINE = 1 << 20  # characters; a clip has about 5000
BATCH = 1000


def export(store: VoiceprintStore, path: Path, speaker_ids: Sequence[str] | None = None) -> tuple[int, int]:
    """Write speakers with all clips and galleries; returns how many speakers and clips.

    Args:
        store: where they are.
        path: the new file; only its owner may read it.
        speaker_ids: of these only: what one person may ask for.

    Raises:
        DataError: the file exists, or cannot be written; there is no such speaker.
    """
    _refuse_existing(path)
    with store.change() as revision:
        touched = {one: len(store.clips(one)) for one in speaker_ids or ()}
        store.record(revision, "export", touched)
    with atomic.staged(path) as temporary, store.database.transaction(write=False):
        temporary.touch(mode=0o600)
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            counts = {"speaker": 0, "clip": 0}
            for row in _rows(store, speaker_ids):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                kind = next(iter(row))
                counts[kind] = counts.get(kind, 0) + 1
            end = {"speakers": counts["speaker"], "clips": counts["clip"]}
            stream.write(json.dumps({"end": end}) + "\n")
    return end["speakers"], end["clips"]


def _rows(store: VoiceprintStore, speaker_ids: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Each line but the last."""
    yield {"format": FORMAT, "version": VERSION, "revision": store.revision}
    joined = store.database.rows("SELECT speaker, gallery FROM members ORDER BY speaker, gallery")
    member_of: dict[str, list[str]] = {}
    for speaker_id, gallery in joined:
        member_of.setdefault(speaker_id, []).append(gallery)
    if speaker_ids is None:
        for gallery in store.galleries():
            yield {"gallery": gallery}
    chosen = store.speakers() if speaker_ids is None else [store.speaker(one) for one in speaker_ids]
    for one in chosen:
        galleries = member_of.get(one.speaker_id, [])
        told = {"id": one.speaker_id, "name": one.name, "added_s": one.added_s, "galleries": galleries}
        yield {"speaker": told}
        for clip in store.clips(one.speaker_id):
            yield {"clip": _content(clip)}


def _content(clip: Clip) -> dict[str, Any]:
    """A clip for JSON."""
    one = clip.voiceprint
    consent = one.consent
    return {
        "id": clip.clip_id,
        "speaker": clip.speaker_id,
        "model": one.model,
        "model_name": one.model_name,
        "embedding": base64.b64encode(np.asarray(one.embedding, "<f4").tobytes()).decode(),
        "source": one.source,
        "speech_s": one.speech_s,
        "flags": list(one.flags),
        "calibration": one.calibration,
        "consent": consent and [consent.reference, consent.start_s, consent.end_s],
        "audio": one.audio,
        "state": clip.state,
        "review": list(clip.review),
        "galleries": list(clip.galleries),
        "added_s": clip.added_s,
        "withdrawn_s": clip.withdrawn_s,
    }


def load(store: VoiceprintStore, source: Path) -> tuple[int, int]:
    """Add what an export, or a folder of JSON files, holds: all or nothing; returns new speakers and clips.

    What is there already is left as it is, so an import may be repeated. A clip of an export keeps its id and
    its time. Galleries are made.

    Raises:
        DataError: not such a file, a damaged line, a name that another speaker has.
    """
    if source.is_dir():
        return _load_folder(store, source)
    with store.change() as revision:
        before = _size(store)
        touched: dict[str, int] = {}
        for number, row in _lines(source):
            try:
                _load_row(store, row, revision, touched)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(source, "is not an intact line", "export again", line=number) from error
            except DataError as error:
                raise DataError(source, f"{error.why}", error.fix, line=number) from error
        store.record(revision, "import", touched)
        after = _size(store)
    return after[0] - before[0], after[1] - before[1]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered lines between the first and the last, which are checked."""
    counts = {"speaker": 0, "clip": 0}
    ended = False
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), ""), 1):
                row = json.loads(line)
                if number == 1 and (row["format"], row["version"]) != (FORMAT, VERSION):
                    raise ValueError("another format")
                ended = "end" in row
                if ended and row["end"] != {"speakers": counts["speaker"], "clips": counts["clip"]}:
                    raise ValueError("lines are missing")
                kind = next(iter(row))
                counts[kind] = counts.get(kind, 0) + 1
                if number > 1 and not ended:
                    yield number, row
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise DataError(path, "is not an intact export of voiceprints", "export again") from error
    if not ended:
        raise DataError(path, "is cut off", "export again")


def _load_row(store: VoiceprintStore, row: dict[str, Any], revision: int, touched: dict[str, int]) -> None:
    if "gallery" in row:
        _make_gallery(store, row["gallery"])
    elif "speaker" in row:
        told = row["speaker"]
        if told["id"] not in touched and not store.database.rows(
            "SELECT id FROM speakers WHERE id = ?", _identifier(told["id"])
        ):
            store.insert_speaker(told["name"], revision, told["id"], _finite(told["added_s"]))
        touched[told["id"]] = 0
        for gallery in told["galleries"]:
            _make_gallery(store, gallery)
        store.put_into([told["id"]], told["galleries"])
    else:
        clip = _clip(row["clip"])
        if clip.speaker_id not in touched:
            raise ValueError("a clip before its speaker")
        touched[clip.speaker_id] += store.insert_clip(clip, revision)


def _make_gallery(store: VoiceprintStore, name: str) -> None:
    if name not in store.galleries():
        store.add_gallery(name)


def _identifier(value: Any) -> str:
    """An id as this program makes them: nothing that could be a path."""
    if not (isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef")):
        raise ValueError(f"{value!r} is no id")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, str) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no time")
    return float(value)


def _clip(told: dict[str, Any]) -> Clip:
    """The clip of which ``_content`` made ``told``.

    Raises:
        KeyError, TypeError, ValueError, DataError: there is none.
    """
    embedding = np.frombuffer(base64.b64decode(told["embedding"], validate=True), "<f4").astype(np.float32)
    consent = Consent(*told["consent"]) if told["consent"] else None
    audio = None if told["audio"] is None else _identifier(told["audio"])
    words = [
        told["model"],
        told["model_name"],
        told["source"],
        *told["flags"],
        *told["review"],
        *told["galleries"],
    ]
    if told["state"] not in {ENROLLED, REVIEW, WITHDRAWN} or not all(isinstance(one, str) for one in words):
        raise ValueError("no such state")
    voiceprint = Voiceprint(
        embedding, told["model"], told["source"], told["speech_s"], told["model_name"], tuple(told["flags"]),
        told["calibration"], consent, audio,
    )  # fmt: skip
    withdrawn_s = None if told["withdrawn_s"] is None else _finite(told["withdrawn_s"])
    if (withdrawn_s is None) == (told["state"] == WITHDRAWN):
        raise ValueError("a time for another state")
    ids = _identifier(told["id"]), _identifier(told["speaker"])
    review = tuple(told["review"]), tuple(told["galleries"])
    return Clip(*ids, voiceprint, told["state"], *review, _finite(told["added_s"]), withdrawn_s)


def _load_folder(store: VoiceprintStore, folder: Path) -> tuple[int, int]:
    people = json_folder.read(folder)
    with store.change():
        before = _size(store)
        for name, voiceprints in people.items():
            found = store.find(name)
            known = store.clips(found.speaker_id) if found else []
            there = {(one.voiceprint.model, one.voiceprint.embedding.tobytes()) for one in known}
            fresh = [one for one in voiceprints if (one.model, one.embedding.tobytes()) not in there]
            if fresh:
                store.enrol(fresh, name=name)
        after = _size(store)
    return after[0] - before[0], after[1] - before[1]


def _size(store: VoiceprintStore) -> tuple[int, int]:
    """How many speakers and clips there are."""
    ((speakers, clips),) = store.database.rows(
        "SELECT (SELECT COUNT(*) FROM speakers), (SELECT COUNT(*) FROM clips)"
    )
    return int(speakers), int(clips)


def back_up(store: VoiceprintStore, target: str | Path) -> None:
    """Copy everything, audit included, in one state, while others may write.

    Between PostgreSQL and a file, in either direction, the tables are copied: a backup of a server is a file
    that works as a store, and goes back into an empty database.

    Raises:
        DataError: the target exists and is not empty, or cannot be written.
    """
    if not is_url(target):
        _refuse_existing(Path(target))
    with store.change() as revision:
        store.record(revision, "backup", {})
    if is_url(target):
        _copy(store, target)
        return
    path = Path(target)
    with atomic.staged(path) as temporary:
        try:
            if not store.database.back_up(temporary):
                _copy(store, temporary)
        finally:
            for suffix in ("-wal", "-shm"):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def _refuse_existing(path: Path) -> None:
    """A file that is there may be a store, or the last good copy."""
    if path.exists():
        raise DataError(path, "exists already", "name a new file")


def _copy(store: VoiceprintStore, target: str | Path) -> None:
    with VoiceprintStore.open(target) as copy:
        database = copy.database
        with database.transaction(write=True), store.database.transaction(write=False):
            if copy.revision:
                raise DataError(copy.where, "is not empty", "name a new database")
            for table in schema.TABLES:
                database.run(f"DELETE FROM {table}") if table == "store" else None
                for rows in store.database.batches(f"SELECT * FROM {table}", BATCH):
                    marks = ", ".join("?" * len(rows[0]))
                    database.run_many(f"INSERT INTO {table} VALUES ({marks})", rows)
