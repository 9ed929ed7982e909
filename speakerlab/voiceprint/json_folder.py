"""The folder of JSON files, one a person, in which earlier versions kept people: read to be imported.

``read(Path("voiceprints"))`` -> ``{"Ann": [Voiceprint, ...]}``.
"""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

import numpy as np

from speakerlab.errors import DataError
from speakerlab.voiceprint.records import Voiceprint, checked, normalised

FIX = "remove it, and enrol this person again"


def read(path: Path) -> dict[str, list[Voiceprint]]:
    """Everybody's voiceprints by name, in order of the names.

    Raises:
        DataError: no such files, or one that is damaged.
    """
    files = sorted(path.glob("*.json"))
    if not files:
        raise DataError(path, "holds no JSON files of people")
    found = dict(_read(file) for file in files)
    return dict(sorted(found.items()))


def _read(file: Path) -> tuple[str, list[Voiceprint]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        name, model = str(content["name"]), str(content["model"])
        voiceprints = [
            Voiceprint(
                np.array(one["embedding"], dtype=np.float32), model, str(one["source"]), one["speech_s"]
            )
            for one in content["voiceprints"]
        ]
        checked(voiceprints, str(file))
        intact = urllib.parse.quote(normalised(name, str(file)), safe=" ") == file.stem
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise DataError(file, "is not an intact voiceprint file", FIX) from error
    if not intact:
        raise DataError(file, "is not an intact voiceprint file", FIX)
    return name, voiceprints
