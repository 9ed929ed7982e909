"""One connection to SQLite or PostgreSQL, and what differs between the two.

``database = connect("voiceprints.db")``; ``with database.transaction(write=True): database.run(statement)``.
SQL is written once, with ``?`` for values. Threads may share a connection: one transaction runs at a time.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import threading
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speakerlab.errors import DataError, MissingExtraError
from speakerlab.io import atomic

BUSY_S = 30.0  # how long a writer waits for another
SCHEMES = ("postgresql://", "postgres://")
NAMESPACE = "voiceprints"  # PostgreSQL's schema: other tables of the database stay apart
_LOCK = 7_215_091_443  # any number: PostgreSQL's lock while the tables are made


class Dialect(ABC):
    """What one database does in its own way.

    Attributes:
        types: SQL type by the name that ``schema`` uses.
        errors: base class of what the driver raises.
        begin: statement that starts a transaction, by whether it writes; one that reads sees one state.
        secrets: what no message may hold.
    """

    types: Mapping[str, str]
    errors: type[Exception]
    begin: Mapping[bool, str]
    secrets: Sequence[str] = ()

    @abstractmethod
    def open(self) -> Any:
        """A connection without implicit transactions."""

    @abstractmethod
    def is_open(self, connection: Any) -> bool:
        """Whether the connection can still be used."""

    @abstractmethod
    def sql(self, text: str) -> str:
        """``text`` with the placeholders of the driver."""

    @abstractmethod
    def streaming(self, connection: Any) -> Any:
        """A cursor that does not hold all rows in memory."""

    def back_up(self, connection: Any, path: Path) -> bool:
        """Copy the whole database to ``path`` in one state; False where the database cannot by itself."""
        del connection, path
        return False

    @abstractmethod
    def refusing(self, table: str, what: str, why: str) -> Iterator[str]:
        """Statements of a trigger that refuses ``what`` (UPDATE, DELETE) on ``table``."""

    @abstractmethod
    def has_store(self, database: Database) -> bool:
        """Whether the tables are there; inside a transaction."""

    @abstractmethod
    def prepare(self, database: Database) -> None:
        """Before the tables are made, inside a transaction: nobody else makes them meanwhile."""

    @abstractmethod
    def overwrite_deleted(self, database: Database) -> bool:
        """Outside a transaction: get rid of the bytes of deleted rows; whether none is left in the files."""


class SQLite(Dialect):
    """A file beside which SQLite keeps ``-wal`` and ``-shm``; only its owner may read them."""

    types = {"text": "TEXT", "blob": "BLOB", "integer": "INTEGER", "real": "REAL"}  # noqa: RUF012
    errors = sqlite3.Error
    begin = {True: "BEGIN IMMEDIATE", False: "BEGIN"}  # noqa: RUF012

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> sqlite3.Connection:
        """In WAL mode, each commit on the disk before it is told, deleted bytes overwritten with zeros."""
        with atomic.writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():  # SQLite gives its other files the mode of this one
                os.close(os.open(self.path, os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + BUSY_S
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:  # this one does not wait by itself
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        for setting in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {setting}")

    def is_open(self, connection: Any) -> bool:
        """Always: a file does not go away."""
        del connection
        return True

    def sql(self, text: str) -> str:
        """As it is."""
        return text

    def streaming(self, connection: Any) -> Any:
        """Any cursor."""
        return connection.cursor()

    def back_up(self, connection: Any, path: Path) -> bool:
        """By SQLite's own copy, which takes one state while others write."""
        with atomic.writing(path):
            os.close(os.open(path, os.O_CREAT, 0o600))
        target = sqlite3.connect(path)
        try:
            connection.backup(target)
            ((found,),) = target.execute("PRAGMA integrity_check").fetchall()
            if found != "ok":
                raise DataError(path, f"the copy is damaged: {found}", "check the disk")
        finally:
            target.close()
        return True

    def refusing(self, table: str, what: str, why: str) -> Iterator[str]:
        """One trigger."""
        name = f"{table}_no_{what.split(maxsplit=1)[0].lower()}"
        yield (f"CREATE TRIGGER {name} BEFORE {what} ON {table} BEGIN SELECT RAISE(ABORT, '{why}'); END")

    def has_store(self, database: Database) -> bool:
        """Whether the file has our tables.

        Raises:
            DataError: it has others.
        """
        tables = {name for (name,) in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "store" not in tables:
            raise DataError(self.path, "is another program's database", "name another file")
        return bool(tables)

    def prepare(self, database: Database) -> None:
        """Nothing: a writing transaction is alone."""

    def overwrite_deleted(self, database: Database) -> bool:
        """Empty the write-ahead log into the file; False where a reader in another process forbids it."""
        ((is_busy, _, _),) = database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return not is_busy


class PostgreSQL(Dialect):
    """A server, named by a URL; needs psycopg."""

    types = {  # noqa: RUF012
        "text": 'TEXT COLLATE "C"', "blob": "BYTEA", "integer": "BIGINT", "real": "DOUBLE PRECISION",
    }  # fmt: skip
    begin = {True: "BEGIN", False: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}  # noqa: RUF012

    def __init__(self, url: str) -> None:
        try:
            self._psycopg: Any = importlib.import_module("psycopg")
        except ImportError as error:
            raise MissingExtraError("psycopg", "postgres") from error
        self.url, self.errors, self.secrets = url, self._psycopg.Error, passwords(url)

    def open(self) -> Any:
        """Each commit on the server's disk before it is told."""
        connection = self._psycopg.connect(self.url, autocommit=True, connect_timeout=10)
        connection.execute(f"SET search_path TO {NAMESPACE}")
        connection.execute("SET client_min_messages TO warning")
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        return connection

    def is_open(self, connection: Any) -> bool:
        """Whether the server has not gone meanwhile, as far as the driver has noticed."""
        return not (connection.closed or connection.broken)

    def sql(self, text: str) -> str:
        """With ``%s`` for ``?``."""
        return text.replace("?", "%s")

    def streaming(self, connection: Any) -> Any:
        """A cursor of the server."""
        return connection.cursor(name="speakerlab")

    def refusing(self, table: str, what: str, why: str) -> Iterator[str]:
        """A function, and a trigger for each row; TRUNCATE, which has no rows, goes with DELETE."""
        name = f"{table}_no_{what.split(maxsplit=1)[0].lower()}"
        yield (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{why}'; END $$"
        )
        yield f"CREATE TRIGGER {name} BEFORE {what} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
        if what == "DELETE":
            yield (
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )

    def has_store(self, database: Database) -> bool:
        """Whether the database has our namespace with our tables."""
        ((found,),) = database.rows(f"SELECT to_regclass('{NAMESPACE}.store') IS NOT NULL")
        return bool(found)

    def prepare(self, database: Database) -> None:
        """Take a lock, and make the namespace."""
        database.run("SELECT pg_advisory_xact_lock(?)", _LOCK)
        database.run(f"CREATE SCHEMA IF NOT EXISTS {NAMESPACE}")

    def overwrite_deleted(self, database: Database) -> bool:
        """Free the space; the server's log and pages may keep the bytes until they are written over."""
        database.run("VACUUM clips")
        return False


class Database:
    """A connection that is opened again when the server was away.

    Args:
        dialect: which database, and where.
        where: the same for messages, without a password.
    """

    def __init__(self, dialect: Dialect, where: str) -> None:
        self.dialect, self.where = dialect, where
        self._lock, self._depth, self._pid = threading.RLock(), 0, os.getpid()
        self._connection: Any = None
        self._forked: list[Any] = []
        with self._telling():
            self._connection = dialect.open()

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[None]:
        """All of the block or nothing; one that reads sees one state. A block inside a block is part of it.

        Raises:
            DataError: the database refuses.
        """
        with self._lock:
            if self._depth:
                yield
                return
            self._begin(write=write)
            self._depth = 1
            try:
                yield
                self.run("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth = 0

    def _begin(self, *, write: bool) -> None:
        """Start, with a new connection where the old one turns out to be gone: nothing was done on it yet."""
        with self._telling():
            if self._pid != os.getpid():  # a child must neither use nor close what its parent uses
                self._forked.append(self._connection)
                self._connection, self._pid = self.dialect.open(), os.getpid()
            if not self.dialect.is_open(self._connection):
                self._connection = self.dialect.open()
            try:
                self._connection.execute(self.dialect.begin[write])
            except self.dialect.errors:
                if self.dialect.is_open(self._connection):
                    raise
                self._connection = self.dialect.open()
                self._connection.execute(self.dialect.begin[write])

    def _roll_back(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except self.dialect.errors:
            self._connection.close()  # the database rolls back what it cannot hear the end of
            if isinstance(self.dialect, SQLite):
                self._connection = self.dialect.open()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self._lock, self._telling():
            return list(self._connection.execute(self.dialect.sql(sql), values).fetchall())

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; how many rows it touched."""
        with self._lock, self._telling():
            return int(self._connection.execute(self.dialect.sql(sql), values).rowcount)

    def run_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute a statement for each of ``rows``."""
        with self._lock, self._telling():
            self._connection.cursor().executemany(self.dialect.sql(sql), list(rows))

    def batches(self, sql: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """What a query finds, ``size`` rows at a time in flat memory; inside a transaction that reads."""
        with self._telling():
            cursor = self.dialect.streaming(self._connection)
            cursor.execute(sql)
            while rows := cursor.fetchmany(size):
                yield list(rows)
            cursor.close()

    def back_up(self, path: Path) -> bool:
        """Copy everything to the new file ``path`` by the database's own means; False if it has none."""
        with self._lock, self._telling():
            return self.dialect.back_up(self._connection, path)

    def overwrite_deleted(self) -> bool:
        """See ``Dialect.overwrite_deleted``."""
        with self._lock:
            return self.dialect.overwrite_deleted(self)

    def close(self) -> None:
        """Give the connection back; may be repeated."""
        with self._lock, self._telling():
            self._connection.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What the driver raises, as one line."""
        try:
            yield
        except self.dialect.errors as error:
            why = " ".join(str(error).split()) or type(error).__name__
            for secret in self.dialect.secrets:
                why = why.replace(secret, "***")
            raise DataError(self.where, f"the voiceprint store cannot be used: {why}") from error


def is_url(location: str | Path) -> bool:
    """Whether ``location`` names a PostgreSQL server."""
    return str(location).startswith(SCHEMES)


def connect(location: str | Path) -> Database:
    """The database at ``location``, a file or a ``postgresql://`` URL; an absent file is made.

    Raises:
        DataError: it cannot be opened.
        MissingExtraError: psycopg is not installed.
    """
    if is_url(location):
        return Database(PostgreSQL(str(location)), without_password(str(location)))
    return Database(SQLite(Path(location)), str(location))


def without_password(url: str) -> str:
    """``url`` as it may be printed.

    Raises:
        DataError: it is no URL.
    """
    parts = _parts(url)
    user = parts.username or ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{user + '@' if user else ''}{host}{parts.path}"


def passwords(url: str) -> list[str]:
    """What must not be printed of ``url``, as it stands and as it is meant; drivers quote what is wrong."""
    parts = _parts(url)
    found = [parts.password or "", *urllib.parse.parse_qs(parts.query).get("password", [])]
    return [one for raw in found if raw for one in (raw, urllib.parse.unquote(raw))]


def _parts(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DataError(
            "--voiceprints", "is no URL of a database", "use postgresql://user@host/name"
        ) from error
