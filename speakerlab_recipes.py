"""Where the command ``speakerlab`` of an installed distribution starts.

A folder on PYTHONPATH may hold another ``speakerlab``, such as a clone of 3D-Speaker. This module has a name
of its own, so that it is found, and tells which folder is in the way.
"""

import sys


def run() -> None:
    """The command, or one line if Python finds another package of its name first."""
    try:
        from speakerlab.cli import run as command
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("speakerlab"):
            raise
        package = sys.modules.get("speakerlab")
        where = next(iter(package.__path__)) if package else "the package"
        sys.exit(f"speakerlab: {where} is another package of this name; take its folder from PYTHONPATH")
    command()
