"""Reading again what a file server failed to give for the moment.

``retry.retried(lambda: audio.read(recording))``: a read error that may pass is tried again after a pause.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from speakerlab.errors import SpeakerLabError

T = TypeVar("T")
PAUSES_S = (0.5, 3.0)
# Of file servers and networks; a missing file or a lacking permission does not pass.
_NAMES = [
    "EIO",
    "ESTALE",
    "ETIMEDOUT",
    "EAGAIN",
    "EINTR",
    "EBUSY",
    "ENETDOWN",
    "ENETUNREACH",
    "ENETRESET",
    "ECONNRESET",
    "ECONNABORTED",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EREMOTEIO",
    "ENOTCONN",
]
TRANSIENT = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}


def retried(read: Callable[[], T]) -> T:
    """What ``read`` gives, at the third try at the latest.

    Raises:
        SpeakerLabError: an error that does not pass, or the last of three.
    """
    for pause_s in PAUSES_S:
        try:
            return read()
        except SpeakerLabError as error:
            if not is_transient(error):
                raise
            logging.warning("%s; trying again in %g s", error, pause_s)
            time.sleep(pause_s)
    return read()


def is_transient(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised from, is a read error that may pass."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in TRANSIENT:
            return True
        cause = cause.__cause__
    return False
