"""The ASGI application: ``create_app(service)``; OpenAPI at ``/openapi.json``, its page at ``/docs``."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import speakerlab
from speakerlab.errors import SpeakerLabError
from speakerlab.serve import enrolment, faults, legacy, live, recognition
from speakerlab.serve.limits import RequestLimits
from speakerlab.serve.meters import CONTENT_TYPE, Meters
from speakerlab.serve.service import Service

PAGE = Path(__file__).parent / "page"
# What the page's browser may load: its own files, and no other site's.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _POLICY,
}


def create_app(service: Service) -> FastAPI:
    """The application around ``service``, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="speakerlab",
        summary="Enrol, verify and identify speakers.",
        version=speakerlab.__version__,
        lifespan=lifespan,
        responses=faults.RESPONSES,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    faults.install(app)
    app.include_router(recognition.router)
    app.include_router(enrolment.router)
    app.include_router(live.router)
    if service.settings.legacy is not None:
        app.state.legacy = legacy.Clients()
        app.include_router(legacy.router)
    _add_status(app, service)
    app.mount("/page", StaticFiles(directory=PAGE, html=True), name="page")
    settings = service.settings
    app.add_middleware(
        RequestLimits, max_bytes=settings.max_bytes, body_s=settings.body_s, hosts=settings.hosts
    )
    app.add_middleware(Watched, meters=service.meters)
    return app


def _add_status(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def _start() -> Response:
        return RedirectResponse("/page/")

    @app.get("/v1/health", tags=["status"])
    async def health() -> dict[str, str]:
        """Whether the process answers; needs no key."""
        return {"status": "ok"}

    @app.get("/v1/ready", tags=["status"])
    async def ready() -> JSONResponse:
        """Whether requests can be served: the store answers and the queue has room; needs no key."""
        try:
            await run_in_threadpool(lambda: service.store.revision)
        except SpeakerLabError:
            return faults.answer(503, "store", "the store does not answer", 5)
        if service.engine.is_full:
            return faults.answer(503, "busy", "too many recordings are waiting", 1)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.meters.text(), media_type=CONTENT_TYPE)


class Watched:
    """Middleware that counts and logs every request, without what it carried, and adds headers.

    Args:
        app: what it watches.
        meters: the counters.
    """

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if not scope["path"].startswith("/page"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self._app(scope, receive, answered)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "other")
            self._meters.request(route, scope["method"], status, seconds)
            logging.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * seconds)
