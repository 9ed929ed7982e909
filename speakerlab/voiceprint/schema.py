"""The tables of the voiceprint store, in SQL that SQLite and PostgreSQL both read.

``statements(dialect)`` -> one statement each. ``{text}``, ``{blob}``, ``{integer}`` and ``{real}`` are the
dialect's types; how a trigger refuses is the dialect's too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerlab.voiceprint.database import Dialect

VERSION = 1
# In the order in which rows can be written: what is referred to comes first.
TABLES = ("store", "settings", "models", "speakers", "clips", "galleries", "members", "removed", "audit")
IMMUTABLE = (
    "id", "speaker", "model", "dim", "embedding", "source", "speech_s", "flags", "calibration",
    "consent", "consent_start_s", "consent_end_s", "audio", "review", "added_s",
)  # fmt: skip
_TABLES = (
    """CREATE TABLE store (
        id {integer} PRIMARY KEY CHECK (id = 1), version {integer} NOT NULL,
        revision {integer} NOT NULL, pruned {integer} NOT NULL)""",
    "CREATE TABLE settings (key {text} PRIMARY KEY, value {text} NOT NULL)",
    """CREATE TABLE models (
        hash {text} PRIMARY KEY, dim {integer} NOT NULL CHECK (dim > 0), name {text} NOT NULL,
        UNIQUE (hash, dim))""",
    """CREATE TABLE speakers (
        id {text} PRIMARY KEY, name {text} NOT NULL UNIQUE, pseudonym {text} NOT NULL UNIQUE,
        added_s {real} NOT NULL, revision {integer} NOT NULL)""",
    "CREATE INDEX speakers_revision ON speakers (revision)",
    """CREATE TABLE clips (
        id {text} PRIMARY KEY, speaker {text} NOT NULL REFERENCES speakers (id),
        model {text} NOT NULL, dim {integer} NOT NULL,
        embedding {blob} NOT NULL CHECK (length(embedding) = 4 * dim), source {text} NOT NULL,
        speech_s {real}, flags {text} NOT NULL, calibration {text}, consent {text},
        consent_start_s {real}, consent_end_s {real}, audio {text}, review {text} NOT NULL,
        added_s {real} NOT NULL, state {text} NOT NULL CHECK (state IN ('enrolled', 'review', 'withdrawn')),
        withdrawn_s {real}, revision {integer} NOT NULL,
        FOREIGN KEY (model, dim) REFERENCES models (hash, dim))""",
    "CREATE INDEX clips_speaker ON clips (speaker)",
    "CREATE INDEX clips_review ON clips (added_s) WHERE state = 'review'",
    "CREATE INDEX clips_consent_start ON clips (consent_start_s) WHERE consent_start_s IS NOT NULL",
    "CREATE INDEX clips_consent_end ON clips (consent_end_s) WHERE consent_end_s IS NOT NULL",
    "CREATE TABLE galleries (name {text} PRIMARY KEY)",
    """CREATE TABLE members (
        gallery {text} NOT NULL REFERENCES galleries (name), speaker {text} NOT NULL REFERENCES speakers (id),
        PRIMARY KEY (gallery, speaker))""",
    "CREATE INDEX members_speaker ON members (speaker)",
    "CREATE TABLE removed (speaker {text} PRIMARY KEY, revision {integer} NOT NULL, at_s {real} NOT NULL)",
    # The audit names a speaker by speakers.pseudonym only. Erasure deletes the row that ties the two
    # together: the audit itself needs no change, and nothing may change it.
    """CREATE TABLE audit (
        revision {integer} NOT NULL, position {integer} NOT NULL, at_s {real} NOT NULL, actor {text} NOT NULL,
        action {text} NOT NULL, pseudonym {text}, num_clips {integer} NOT NULL, gallery {text},
        PRIMARY KEY (revision, position))""",
    "CREATE INDEX audit_pseudonym ON audit (pseudonym)",
)


def statements(dialect: Dialect) -> Iterator[str]:
    """Everything that makes an empty store."""
    for statement in _TABLES:
        yield statement.format(**dialect.types)
    yield from dialect.refusing("audit", "UPDATE", "the audit is append-only")
    yield from dialect.refusing("audit", "DELETE", "the audit is append-only")
    yield from dialect.refusing("clips", f"UPDATE OF {', '.join(IMMUTABLE)}", "clips do not change")
