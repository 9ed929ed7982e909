"""Where the files are kept that can be made or fetched again: ``user_cache() / "optimised-1f.onnx"``.

The only module below the commands that reads the environment: the user names the folder there, for the Python
API and the commands alike.
"""

from __future__ import annotations

import os
from pathlib import Path

from speakerlab.errors import DataError

CHOOSE = "set XDG_CACHE_HOME to another folder"


def user_cache() -> Path:
    """``speakerlab`` in ``XDG_CACHE_HOME`` where that is an absolute path, else in ``~/.cache``.

    Raises:
        DataError: this user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if named.startswith("/"):  # a relative one is to be ignored: XDG Base Directory Specification
        return Path(named) / "speakerlab"
    try:
        return Path.home() / ".cache" / "speakerlab"
    except RuntimeError as error:
        raise DataError("~", "this user has no home folder", "set XDG_CACHE_HOME to a folder") from error
