"""API keys: who may do what, kept as hashes in a file of their own, and how often.

``keys = KeyRing(Path("keys.json")); token = keys.add("front desk", {"read"}); keys.find(token)`` -> ``Key``.
A token is an id and 256 random bits: its SHA-256 is as hard to turn back as it is, a slow hash adds nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.io import atomic

READ, ENROL, VECTORS, ADMIN = "read", "enrol", "vectors", "admin"
SCOPES = {
    READ: "verify, identify, list speakers and galleries",
    ENROL: "add and withdraw clips, the review list",
    VECTORS: "see embeddings",
    ADMIN: "everything: delete speakers, change galleries, read the audit",
}
_PREFIX = "slk"


class RefusedError(Exception):
    """No, or another, key is needed, or later; ``status`` is HTTP's."""

    def __init__(self, status: int, code: str, message: str, retry_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_s = status, code, message, retry_s


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        key_id: names it in the audit.
        name: what it is for.
        scopes: what it may do; ``admin`` includes all.
        sha256: of the token.
        requests_per_minute: how often it may be used; 0 without a limit.
        created_s: seconds since 1970.
    """

    key_id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    requests_per_minute: int = 0
    created_s: float = 0.0

    def may(self, scope: str) -> bool:
        """Whether it has ``scope``."""
        return scope in self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Go on if it has ``scope``.

        Raises:
            RefusedError: it has not.
        """
        if not self.may(scope):
            raise RefusedError(403, "scope", f"this key has no scope {scope}")


ANYBODY = Key("local", "nobody asked for a key", (ADMIN,), "")  # on loopback, where no keys were made


class KeyRing:
    """The keys in the file ``path``, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """Every key, oldest first.

        Raises:
            DataError: the file is damaged.
        """
        return list(self._current().values())

    def find(self, token: str) -> Key | None:
        """The key of ``token``; None where there is none. The comparison takes the same time for all."""
        parts = token.split("_")
        known = self._current().get(parts[1]) if len(parts) == 3 and parts[0] == _PREFIX else None
        expected = known.sha256 if known else "0" * 64
        is_right = secrets.compare_digest(_digest(token), expected)
        return known if is_right else None

    def add(self, name: str, scopes: Collection[str], requests_per_minute: int = 0) -> str:
        """A new key; returns its token, which is nowhere else.

        Raises:
            SpeakerLabError: no name, an unknown scope, a negative rate.
            DataError: the file is damaged, or cannot be written.
        """
        unknown = set(scopes) - set(SCOPES)
        if unknown or not scopes:
            raise SpeakerLabError(
                f"scopes are {', '.join(SCOPES)}, not {', '.join(sorted(unknown)) or 'none'}"
            )
        if not name.strip() or requests_per_minute < 0:
            raise SpeakerLabError("a key needs a name, and a rate of 0 or more")
        key_id = secrets.token_hex(4)
        token = f"{_PREFIX}_{key_id}_{secrets.token_hex(32)}"
        key = Key(
            key_id, name.strip(), tuple(sorted(scopes)), _digest(token), requests_per_minute, time.time()
        )
        self._write({**self._current(), key_id: key})
        return token

    def remove(self, key_id: str) -> bool:
        """Forget a key; whether there was one.

        Raises:
            DataError: the file is damaged, or cannot be written.
        """
        keys = dict(self._current())
        existed = keys.pop(key_id, None) is not None
        if existed:
            self._write(keys)
        return existed

    def _current(self) -> dict[str, Key]:
        with self._lock:
            try:
                stat = self._path.stat()
            except FileNotFoundError:
                self._stamp, self._keys = None, {}
                return self._keys
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._keys, self._stamp = self._read(), stamp
            return self._keys

    def _read(self) -> dict[str, Key]:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
            keys = [Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                self._path, f"is no file of keys ({error})", "restore it, or make new keys"
            ) from error
        return {key.key_id: key for key in keys}

    def _write(self, keys: dict[str, Key]) -> None:
        with atomic.writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(
                self._path, json.dumps({"keys": [asdict(k) for k in keys.values()]}, indent=2) + "\n"
            )
            self._path.chmod(0o600)


class RateLimit:
    """At most so many requests a minute by each key: a bucket that fills steadily."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, key: Key) -> float:
        """0 where a request may go on, else the seconds until the next one may."""
        if not key.requests_per_minute:
            return 0.0
        per_s, now = key.requests_per_minute / 60, time.monotonic()
        with self._lock:
            held, last = self._buckets.get(key.key_id, (float(key.requests_per_minute), now))
            held = min(float(key.requests_per_minute), held + (now - last) * per_s)
            if held < 1:
                self._buckets[key.key_id] = (held, now)
                return (1 - held) / per_s
            self._buckets[key.key_id] = (held - 1, now)
        return 0.0


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
