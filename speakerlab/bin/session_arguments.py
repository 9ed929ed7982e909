"""What the commands that run a network share: ``--backend --precision --graph``.

``add(parser)``; ``config(arguments)`` -> the ``SessionConfig`` they ask for.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from speakerlab.embed.session import BACKENDS, PRECISIONS, SessionConfig


def add(parser: argparse.ArgumentParser) -> None:
    """``--backend --precision --graph``."""
    backends = (*BACKENDS, "auto")
    parser.add_argument("--backend", choices=backends, default="torch", help="auto: the fastest here")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="bf16: GPU, or OpenVINO")
    parser.add_argument(
        "--graph", type=Path, metavar="FILE", help="run this file of speakerlab export, in its precision"
    )


def config(arguments: argparse.Namespace) -> SessionConfig:
    """Back-end and precision asked for, the threads that the launcher gives, and the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    return SessionConfig(
        cache / "speakerlab", arguments.backend, arguments.precision, threads, arguments.graph
    )
