"""What the commands that run a network share: threads and cache, and ``--backend --precision --graph``.

``add(parser)``; ``config(arguments)`` -> the ``SessionConfig`` they ask for; ``default()`` is for commands
without these options.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from speakerlab.embed.session import BACKENDS, PRECISIONS, SessionConfig, num_cores


def add(parser: argparse.ArgumentParser) -> None:
    """``--backend --precision --graph``."""
    backends = (*BACKENDS, "auto")
    parser.add_argument("--backend", choices=backends, help="auto: the fastest here (default: torch)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="bf16: GPU, or OpenVINO")
    parser.add_argument(
        "--graph", type=Path, metavar="FILE", help="run this file of speakerlab export, in its precision"
    )


def default() -> SessionConfig:
    """PyTorch in fp32, the threads that the launcher gives, else a thread per core, and the user's cache.

    ``OMP_NUM_THREADS`` may be a list, a number for each level of nesting (OpenMP 5.2, 21.1.2); what is no
    number is ignored there, and here.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return SessionConfig(num_threads=int(asked) if asked.isdecimal() and int(asked) else num_cores())


def config(arguments: argparse.Namespace) -> SessionConfig:
    """``default``, with the back-end, precision and graph asked for."""
    asked = {
        "backend": arguments.backend or "torch",
        "precision": arguments.precision,
        "graph": arguments.graph,
    }
    return dataclasses.replace(default(), **asked)
