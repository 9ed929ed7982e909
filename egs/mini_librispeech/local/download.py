"""Files from a web server: resumed, tried again, published only when size and MD5 are right.

Example: ``fetch(Archive("a.tgz", 1024, md5), "https://example.org/31", folder)`` gives ``folder/a.tgz``.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import math
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from speakerlab import logs
from speakerlab.errors import DataError

NUM_ATTEMPTS = 6
FIRST_WAIT_S = 1.0  # doubled after each failure
TIMEOUT_S = 60.0  # without a byte
BLOCK_BYTES = 1 << 20
TRY_AGAIN = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may pass
PASSING = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
BY_HAND = "or download it by hand and give its folder as --data-src"


@dataclass(frozen=True)
class Archive:
    """A published file: its name, size and MD5 checksum in hexadecimal digits."""

    name: str
    num_bytes: int
    md5: str


def fetch(archive: Archive, base_url: str, folder: Path) -> Path:
    """``folder/archive.name``, downloaded unless it is there; a ``.part`` file beside it is gone on with.

    Raises:
        DataError: the server has no such file or another one, or does not answer ``NUM_ATTEMPTS`` times; the
            checksum is wrong (the file is then renamed to ``.corrupt``).
    """
    path, part = folder / archive.name, folder / f"{archive.name}.part"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        download(f"{base_url}/{archive.name}", archive, part)
    candidate = path if path.exists() else part
    put_aside_unless_right(candidate, archive)
    return candidate.replace(path)


def download(url: str, archive: Archive, part: Path) -> None:
    """Complete ``part``, trying again after what may pass.

    Raises:
        DataError: it stays incomplete.
    """
    for attempt in range(NUM_ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        problem = try_transfer(url, archive, part)
        if not problem:
            return
        logging.warning("%s: %s", url, problem)
    raise DataError(url, f"{problem}, {NUM_ATTEMPTS} times", f"run again to go on, {BY_HAND}")


def try_transfer(url: str, archive: Archive, part: Path) -> str:
    """Download what ``part`` lacks; what went wrong, if it may pass, else an empty string."""
    try:
        transfer(url, archive, part)
    except urllib.error.HTTPError as error:
        if error.code not in TRY_AGAIN:
            raise DataError(url, f"{error.code} {error.reason}", f"check the address, {BY_HAND}") from error
        return f"{error.code} {error.reason}"
    except PASSING as error:
        return f"no answer{_through_proxy(url)} ({error})"
    num_bytes = part.stat().st_size
    return "" if num_bytes == archive.num_bytes else f"stopped at {num_bytes} of {archive.num_bytes} bytes"


def _through_proxy(url: str) -> str:
    """The proxy that the environment names for ``url``, without a password."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return f" through the proxy {re.sub('//.*@', '//', proxy)}"


def transfer(url: str, archive: Archive, part: Path) -> None:
    """Append to ``part`` what the server sends, or start anew where it does not send parts."""
    have = part.stat().st_size if part.exists() else 0
    if have > archive.num_bytes:
        logging.warning("%s is longer than %s: starting anew", part, archive.name)
        have = 0
    if have == archive.num_bytes:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            logging.info("%s: the server sends no parts, starting anew", url)
            have = 0
        announced = have + int(response.headers.get("Content-Length", archive.num_bytes - have))
        if announced != archive.num_bytes:
            why = f"the server has {announced} bytes, {archive.num_bytes} are expected"
            raise DataError(url, why, f"check the address, {BY_HAND}")
        num_blocks = math.ceil((archive.num_bytes - have) / BLOCK_BYTES)
        blocks = iter(lambda: response.read(BLOCK_BYTES), b"")
        with part.open("ab" if have else "wb") as stream:
            for block in logs.progress(blocks, f"{archive.name} (MiB)", num_blocks):
                stream.write(block)


def put_aside_unless_right(path: Path, archive: Archive) -> None:
    """Rename ``path`` to ``.corrupt`` and raise if ``check`` does."""
    try:
        check(path, archive)
    except DataError as error:
        corrupt = path.with_name(f"{archive.name}.corrupt")
        path.replace(corrupt)
        raise DataError(corrupt, error.why, "download it again by running this again") from error


def check(path: Path, archive: Archive) -> None:
    """Compare size and checksum.

    Raises:
        DataError: either is wrong.
    """
    num_bytes = path.stat().st_size
    if num_bytes != archive.num_bytes:
        raise DataError(path, f"has {num_bytes} bytes, not {archive.num_bytes}", "download it again")
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
            digest.update(block)
    if digest.hexdigest() != archive.md5:
        raise DataError(path, f"has MD5 {digest.hexdigest()}, not {archive.md5}", "download it again")
