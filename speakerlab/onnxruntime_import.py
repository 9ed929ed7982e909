"""The one place that imports onnxruntime: without its telemetry, which is on by default, on Linux too.

Its import makes a lasting device id and queues an event (findings/onnxruntime_telemetry.sh). Voices are
personal data. ``ORT_DISABLE_TELEMETRY=0`` keeps it on.
Example: ``runtime("onnx").InferenceSession(path)``.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from speakerlab.errors import MissingExtraError


def runtime(extra: str) -> Any:
    """ONNX Runtime.

    Raises:
        MissingExtraError: it is not installed; ``extra`` brings it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError("onnxruntime", extra) from error
