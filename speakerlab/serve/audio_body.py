"""How OpenAPI describes requests that carry recordings."""

from __future__ import annotations

from typing import Any

from speakerlab.serve.uploads import PCM

_FILE = {"type": "string", "format": "binary"}
RAW = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/webm", "audio/mp4", PCM)


def of(*names: str, several: bool = False) -> dict[str, Any]:
    """``openapi_extra`` of a route that takes the files ``names`` of a form, or the body as one recording.

    Args:
        names: of the files.
        several: whether the file may be repeated.
    """
    one: dict[str, Any] = {"type": "array", "items": _FILE} if several else _FILE
    form = {"type": "object", "properties": dict.fromkeys(names, one)}
    raw = {kind: {"schema": _FILE} for kind in RAW}
    content = {"multipart/form-data": {"schema": form}, **raw}
    return {"requestBody": {"required": True, "content": content}}
