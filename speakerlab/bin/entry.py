"""What every command-line entry point does once: parse, set up the log, turn errors into exit codes.

Exit 0 success; 1 an error of the input, one line on stderr; 2 wrong usage; a traceback is a bug.
``run(main, options())`` is all that a module of this package does as a program; ``call`` does it inside one.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import errno
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from speakerlab import distribution, logs
from speakerlab.errors import SpeakerLabError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """``--help`` that keeps the example's line breaks and names each default once, where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        help_text, default = action.help or "", action.default
        if not action.option_strings or "default" in help_text or isinstance(default, bool):
            return help_text
        if default in (None, argparse.SUPPRESS, "", []):
            return help_text
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{help_text} (default: {shown.replace('%', '%%')})"


def parser(module_doc: str | None) -> argparse.ArgumentParser:
    """An argument parser whose help is the module's docstring, example included."""
    description = (module_doc or "").replace("``", "'")
    return argparse.ArgumentParser(prog=_prog(), description=description, formatter_class=HelpFormatter)


def _prog() -> str | None:
    """What people type: ``speakerlab verify``, ``python -m speakerlab.bin.train``; None for a script."""
    name = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) or ""
    if name.startswith("speakerlab.bin."):
        return f"python -m {name}"
    return sys.argv[0] if sys.argv[0].startswith("speakerlab ") else None


def date(text: str) -> float:
    """The end of a day, in seconds since 1970: the type of an option.

    Raises:
        ArgumentTypeError: it is no date.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2027-12-31") from None
    return (day + timedelta(days=1)).timestamp()


def add_job_options(options: argparse.ArgumentParser) -> None:
    """``--job`` and ``--num-jobs``, which every parallel worker takes."""
    options.add_argument("--job", type=int, default=1, help="which share to do, from 1")
    options.add_argument("--num-jobs", type=int, default=1, help="number of shares")


def rate(text: str) -> float:
    """A share in [0, 1], such as that of utterances that may fail."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1")
    return value


@contextmanager
def starting() -> Iterator[None]:
    """Around the imports and the loading of a short command: no garbage is collected meanwhile.

    They make half a million objects that stay. Looking through these again and again while they become more
    takes a fifth of the start and finds nothing; later collections leave them out.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def call(main: Callable[[argparse.Namespace], None], options: argparse.ArgumentParser) -> None:
    """Parse ``sys.argv``, call ``main`` and exit with its status."""
    arguments = options.parse_args()
    program = Path(sys.argv[0]).stem
    job, num_jobs = getattr(arguments, "job", 1), getattr(arguments, "num_jobs", 1)
    if not 1 <= job <= num_jobs:
        options.error(f"--job {job} is not in 1..{num_jobs}")
    logs.setup(program, job, num_jobs)
    try:
        try:
            main(arguments)
        finally:
            sys.stdout.flush()
    except SpeakerLabError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        if error.filename is None:
            raise
        print(f"{program}: {error.filename}: {error.strerror}; change its permissions", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        # Files that cannot be written are errors of their own: what is left is standard output.
        if error.errno not in (errno.EPIPE, errno.ENOSPC) or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whose reader has seen enough
            print(f"{program}: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def run(main: Callable[[argparse.Namespace], None], options: argparse.ArgumentParser) -> None:
    """``call``, and the end of the process."""
    refuse_conflict()
    process(lambda: call(main, options))


def refuse_conflict() -> None:
    """Exit with one line where another package of this name is mixed with ours."""
    if conflict := distribution.conflict():
        sys.exit(f"speakerlab: {conflict}")


def keep_memory() -> None:
    """Let the C library keep what is freed, where it is glibc.

    By itself it gives the memory of a large tensor back to the system and asks for it again, page by page,
    at the next layer: a tenth of the time of a network on the CPU. The peak stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(ctypes.c_int(_TRIM_THRESHOLD), ctypes.c_int(10**9))
        mallopt(ctypes.c_int(_MMAP_THRESHOLD), ctypes.c_int(1 << 25))  # the most it takes


def process(command: Callable[[], None]) -> None:
    """Call ``command`` and end the process with its status, as the interpreter would, but at once.

    Freed memory is kept meanwhile. Threads are waited for, what is registered for the exit runs, output is
    written. Left out is only taking torch's modules apart, object by object: a tenth of a second and more,
    for memory that the system takes back anyway. What is raised, other than a status, is left to the
    interpreter.
    """
    keep_memory()
    status = 0
    try:
        command()
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):
            raise
        status = stop.code or 0
    threading._shutdown()  # type: ignore[attr-defined]  # the interpreter itself begins with these two
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # nobody reads on, or the disk is full: the interpreter has a status for it
        sys.exit(status)
    os._exit(status)
