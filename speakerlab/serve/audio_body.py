"""How OpenAPI describes requests that carry recordings."""

from __future__ import annotations

from typing import Any

from speakerlab.serve.uploads import PCM

_FILE = {"type": "string", "format": "binary"}
RAW = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/webm", "audio/mp4", PCM)


def of(
    *names: str, or_raw: bool = False, several: bool = False, fields: dict[str, Any] | None = None
) -> dict[str, Any]:
    """``openapi_extra`` of a route that takes the files ``names`` of a form, or the body as one recording.

    Args:
        names: of the files.
        or_raw: whether the whole body may be the recording.
        several: whether the file may be repeated.
        fields: further fields of the form.
    """
    one: dict[str, Any] = {"type": "array", "items": _FILE} if several else _FILE
    form = {"type": "object", "properties": {**dict.fromkeys(names, one), **(fields or {})}}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if or_raw:
        content.update({kind: {"schema": _FILE} for kind in RAW})
    return {"requestBody": {"required": True, "content": content}}
