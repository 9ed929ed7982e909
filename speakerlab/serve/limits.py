"""What every request must keep to, before any route sees it: size, time, host, origin.

ASGI middleware: ``app.add_middleware(RequestLimits, max_bytes=..., body_s=..., hosts=...)``. Bodies are
counted as they arrive, whatever their header states.
"""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TooLargeError(Exception):
    """A body of more bytes than may be."""


class TooSlowError(Exception):
    """A body that did not arrive in time."""


class RequestLimits:
    """Middleware.

    Args:
        app: what it guards.
        max_bytes: of a body.
        body_s: seconds that a body may take to arrive.
        hosts: names that requests may be addressed to; None for any. A page of another site that a browser
            on this machine shows reaches a server on loopback too: by a name of its own (DNS rebinding),
            which this list does not hold, or across origins, which the browser tells.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, body_s: float, hosts: frozenset[str] | None = None
    ) -> None:
        self._app, self._max_bytes, self._body_s, self._hosts = app, max_bytes, body_s, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (why := self._foreign(headers)) is not None:
            await _refuse(scope, send, 403, "origin", why)
            return
        if scope["type"] == "websocket":  # its messages have limits of their own
            await self._app(scope, receive, send)
            return
        stated = headers.get("content-length", "0")
        if not stated.isdecimal() or int(stated) > self._max_bytes:
            await _refuse(scope, send, 413, "too_large", f"the limit is {self._max_bytes:,} bytes")
            return
        await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, self._max_bytes, self._body_s)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, body.receive, watched)
        except (TooLargeError, TooSlowError):
            if started:
                raise
            if isinstance(body.fault, TooSlowError):
                await _refuse(scope, send, 408, "too_slow", f"the body took more than {self._body_s:g} s")
            else:
                await _refuse(scope, send, 413, "too_large", f"the limit is {self._max_bytes:,} bytes")

    def _foreign(self, headers: Headers) -> str | None:
        """Why the request comes from a page of another site, or to another name; None where it does not."""
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return f"this server is not called {_name(host)!r}"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "pages of another origin may not use this server"
        return None


class _Body:
    def __init__(self, receive: Receive, max_bytes: int, body_s: float) -> None:
        self._receive, self._left, self._ends = receive, max_bytes, time.monotonic() + body_s
        self._whole = False
        self.fault: Exception | None = None

    async def receive(self) -> Message:
        if self._whole:  # what is left is whether the client goes away, which may take its time
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._ends - time.monotonic()))
        except asyncio.TimeoutError:
            self.fault = TooSlowError()
            raise self.fault from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._left < 0:
                self.fault = TooLargeError()
                raise self.fault
        return message


def _name(host: str) -> str:
    """The host of ``host:port``, an IPv6 address without its brackets; in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _refuse(scope: Scope, send: Send, status: int, code: str, message: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": message[:120]})
        return
    body = json.dumps({"error": code, "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
