"""Every failure as an answer: a status, a short code, one line that says what to do; never a traceback."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from speakerlab.errors import AudioError, DataError, MissingExtraError, SpeakerLabError
from speakerlab.serve.answers import Problem
from speakerlab.serve.engine import BusyError
from speakerlab.serve.keys import RefusedError
from speakerlab.serve.uploads import BodyError, MediaTypeError

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "the request cannot be understood",
        401: "no valid key",
        403: "the key lacks the scope, or the request comes from another site",
        404: "there is none",
        408: "the body took too long",
        409: "it does not go with what the store holds",
        413: "the body is too large",
        415: "no kind of recording that is read here",
        422: "a parameter or a recording cannot be used",
        429: "this key is used too often",
        503: "too much to do at the moment",
    }.items()
}


class NotFoundError(SpeakerLabError):
    """What the path or a parameter names is not there."""


def answer(status: int, code: str, message: str, retry_s: int | None = None) -> JSONResponse:
    """A failure."""
    headers = {"Retry-After": str(retry_s)} if retry_s is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": code, "message": " ".join(message.split())}, status, headers)


def of_error(error: SpeakerLabError) -> tuple[int, str, int | None]:
    """Status, code and Retry-After of an error of the toolkit."""
    if isinstance(error, BusyError):
        return 503, "busy", error.retry_s
    if isinstance(error, MissingExtraError):
        return 415, "media_type", None
    kinds: list[tuple[type[SpeakerLabError], int, str]] = [
        (NotFoundError, 404, "not_found"),
        (MediaTypeError, 415, "media_type"),
        (BodyError, 400, "body"),
        (AudioError, 422, "audio"),
        (DataError, 409, "conflict"),
    ]
    for kind, status, code in kinds:
        if isinstance(error, kind):
            return status, code, None
    return 422, "parameter", None


def install(app: FastAPI) -> None:
    """Make all failures of ``app`` answers."""

    @app.exception_handler(SpeakerLabError)
    async def _known(_: Request, error: SpeakerLabError) -> JSONResponse:
        status, code, retry_s = of_error(error)
        return answer(status, code, _without_place(error), retry_s)

    @app.exception_handler(RefusedError)
    async def _refused(_: Request, error: RefusedError) -> JSONResponse:
        return answer(error.status, error.code, error.message, error.retry_s)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
        return answer(422, "parameter", f"{where or 'request'}: {first['msg']}")

    @app.exception_handler(MultiPartException)
    async def _form(_: Request, error: MultiPartException) -> JSONResponse:
        return answer(400, "body", f"the form cannot be read: {error.message}")

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, "http", str(error.detail))

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        logging.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(500, "internal", "the server failed; its log tells why")


def _without_place(error: SpeakerLabError) -> str:
    """What is wrong, without the store's place, which is nothing that clients need to know."""
    if isinstance(error, DataError):
        return error.why + (f"; {error.fix}" if error.fix else "")
    return str(error)
