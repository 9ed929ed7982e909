"""Where things are kept that can be had again: ``$XDG_CACHE_HOME/speakerlab``, else ``~/.cache/speakerlab``.

``cache_folder.default()`` -> path. It is the one setting that the library takes from the environment: a call
such as ``load_model("campplus")`` has nobody who could give it.
"""

from __future__ import annotations

import os
from pathlib import Path

from speakerlab.errors import DataError

CHOOSE = "set XDG_CACHE_HOME to another folder"


def default() -> Path:
    """The user's cache of this toolkit, be it there or not.

    Raises:
        DataError: this user has no home folder.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise DataError("~", "this user has no home folder", "set XDG_CACHE_HOME to a folder") from error
    return cache / "speakerlab"
