"""What every command-line entry point does once: parse, set up the log, turn errors into exit codes.

Exit 0 success; 1 an error of the input, one line on stderr; 2 wrong usage; a traceback is a bug.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from speakerlab import logs
from speakerlab.errors import SpeakerLabError


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """``--help`` with defaults, keeping the example's line breaks."""


def parser(module_doc: str | None) -> argparse.ArgumentParser:
    """An argument parser whose help is the module's docstring, example included."""
    return argparse.ArgumentParser(description=module_doc, formatter_class=HelpFormatter)


def add_job_options(options: argparse.ArgumentParser) -> None:
    """``--job`` and ``--num-jobs``, which every parallel worker takes."""
    options.add_argument("--job", type=int, default=1, help="which share to do, from 1")
    options.add_argument("--num-jobs", type=int, default=1, help="number of shares")


def run(main: Callable[[argparse.Namespace], None], options: argparse.ArgumentParser) -> None:
    """Parse ``sys.argv``, call ``main`` and exit with its status."""
    arguments = options.parse_args()
    program = Path(sys.argv[0]).stem
    job, num_jobs = getattr(arguments, "job", 1), getattr(arguments, "num_jobs", 1)
    if not 1 <= job <= num_jobs:
        options.error(f"--job {job} is not in 1..{num_jobs}")
    logs.setup(program, job, num_jobs)
    try:
        main(arguments)
    except SpeakerLabError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
