"""What a URL serves, in a file that is gone afterwards; size, time and where it may lead have limits.

``with download.opened("test1", "https://somewhere/a.wav") as stream: ...``. Addresses in the local network
are not refused: a service that gets a URL from a stranger fetches it by its own rules and gives the bytes.
"""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

from speakerlab.errors import AudioError

MAX_BYTES = 512 << 20  # 4.6 h of 16-bit audio at 16 kHz
MAX_S = 600.0  # from the first look-up to the last byte
SILENCE_S = 30.0  # the longest wait for the next bytes
BLOCK_BYTES = 1 << 16


@contextmanager
def opened(name: str, url: str) -> Iterator[BinaryIO]:
    """The content of ``url``, http or https, in a temporary file; errors call it ``name``.

    Raises:
        AudioError: it cannot be fetched, breaks off, holds more than ``MAX_BYTES``, takes longer than
            ``MAX_S``, is silent for ``SILENCE_S``, or leads to something that is no http(s) URL.
    """
    with tempfile.TemporaryFile() as stream:
        # in a thread: name look-ups and slow headers know no time limit for all of them together
        done: futures.Future[None] = futures.Future()
        threading.Thread(target=_settle, args=(done, name, url, stream), daemon=True).start()
        try:
            done.result(MAX_S)
        except futures.TimeoutError as error:
            raise AudioError(name, f"{url}: not whole within {MAX_S:g} s") from error
        stream.seek(0)
        yield stream


def _settle(done: futures.Future[None], name: str, url: str, stream: IO[bytes]) -> None:
    try:
        _transfer(url, stream)
    except Exception as error:  # noqa: BLE001 (whatever it is, opened() waits to be told)
        failure = AudioError(name, f"{url}: {_why(error)}")
        failure.__cause__ = error
        done.set_exception(failure)
    else:
        done.set_result(None)


def _why(error: Exception) -> str:
    """What a failed transfer is called."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {_printable(error.reason)}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {SILENCE_S:g} s"
    return f"cannot be fetched: {_printable(reason)}"


def _printable(said: object) -> str:
    """One short line of what may be a server's words: whole headers, or codes that a terminal obeys."""
    return " ".join("".join(one if one.isprintable() else " " for one in str(said)[:200]).split())


def _transfer(url: str, stream: IO[bytes]) -> None:
    deadline = time.monotonic() + MAX_S
    with _opener().open(url, timeout=SILENCE_S) as answer:
        stated, held = answer.length, 0  # as the server says; None where it does not
        if stated and stated > MAX_BYTES:
            raise ValueError(f"it holds {stated:,} bytes; {MAX_BYTES:,} is the limit")
        while block := answer.read1(BLOCK_BYTES):
            held += len(block)
            if held > MAX_BYTES:
                raise ValueError(f"it holds more than {MAX_BYTES:,} bytes, the limit")
            if time.monotonic() > deadline:
                raise ValueError(f"not whole within {MAX_S:g} s")
            stream.write(block)
    if stated is not None and held < stated:
        raise http.client.IncompleteRead(b"", stated - held)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To http and https only; urllib also follows to FTP."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise urllib.error.URLError(f"it leads to {newurl!r}, which is not http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """As ``urlopen``'s, without files, FTP and data URLs."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
