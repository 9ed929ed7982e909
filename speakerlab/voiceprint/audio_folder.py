"""Recordings that the operator chose to keep, for another model: FLAC files in a folder, named by random ids.

``keep(store.settings()["audio_folder"], sources)`` -> their names; without a folder nothing is kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speakerlab.errors import AudioError
from speakerlab.io import atomic, audio

if TYPE_CHECKING:
    from speakerlab.pipeline.sources import Source

SUFFIX = ".flac"


def path_of(folder: str | Path, name: str) -> Path:
    """The file of a kept recording."""
    return Path(folder) / f"{name}{SUFFIX}"


def keep(folder: str | None, sources: Sequence[Source], channel: int = 0) -> list[str]:
    """Write one channel of each source; names of the files, none without a folder.

    The clip that names a file is committed afterwards: a kill in between leaves a file that
    ``erasure.retain`` removes.

    Raises:
        AudioError: a source holds features, and no sound.
        DataError: the folder cannot be written.
    """
    if not folder:
        return []
    names = []
    for source in sources:
        found = source.read()
        if not isinstance(found, audio.Channels):
            raise AudioError(source.origin, "holds features; this store keeps recordings")
        name = uuid.uuid4().hex
        path = path_of(folder, name)
        with atomic.writing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        audio.write(path, audio.one_channel(source.origin, found, channel))
        with atomic.writing(path):
            path.chmod(0o600)
        names.append(name)
    return names
