"""Who asks: the key of a request, its scopes and its rate, as FastAPI dependencies.

``Depends(needs("read"))`` gives the ``Key``, or ends the request with 401, 403 or 429.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from speakerlab.serve.keys import ANYBODY, Key, RefusedError

if TYPE_CHECKING:
    from speakerlab.serve.service import Service

_BEARER = HTTPBearer(auto_error=False, description="a key of: speakerlab keys add NAME")


def authorised(service: Service, token: str | None, scope: str) -> Key:
    """The key of ``token``, which has ``scope`` and is not used too often.

    Raises:
        RefusedError: 401, 403 or 429.
    """
    if token is None and service.settings.is_open and not service.keys.all():
        return ANYBODY
    key = service.keys.find(token) if token else None
    if key is None:
        raise RefusedError(401, "no_key", "send a valid key: Authorization: Bearer KEY")
    key.require(scope)
    if wait_s := service.rates.wait_s(key):
        raise RefusedError(429, "rate", "this key is used too often", math.ceil(wait_s))
    return key


def needs(scope: str) -> Callable[..., Key]:
    """A dependency that demands ``scope``."""

    def dependency(
        request: Request,
        credentials: HTTPAuthorizationCredentials | None = Security(_BEARER),  # noqa: B008
    ) -> Key:
        token = credentials.credentials if credentials else request.headers.get("x-api-key")
        return authorised(request.app.state.service, token, scope)

    return dependency
