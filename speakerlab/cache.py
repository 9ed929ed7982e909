"""Where the files are kept that can be made or fetched again: ``user_cache() / "optimised-1f.onnx"``.

The only module below the commands that reads the environment: the user names the folder there, for the Python
API and the commands alike.
"""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """``speakerlab`` in ``XDG_CACHE_HOME`` where that is an absolute path, else in ``~/.cache``."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # a relative one is to be ignored: XDG Base Directory Specification
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "speakerlab"
