"""The one place that imports torchaudio, with or without its compiled extension.

Gives ``kaldi`` (``torchaudio.compliance.kaldi``) and ``functional``, both pure Python on torch.
Example: ``from speakerlab.torchaudio_import import kaldi``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["functional", "kaldi"]

_EXTENSION = "torchaudio._extension"


def _extension_stub() -> ModuleType:
    """What torchaudio's pure-Python parts ask of its extension module: that it is absent."""
    stub: Any = ModuleType(_EXTENSION)
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stub._IS_ALIGN_AVAILABLE = False
    stub.fail_if_no_align = lambda function: function
    stub._check_cuda_version = lambda: None
    return stub  # type: ignore[no-any-return]


def _import() -> tuple[ModuleType, ModuleType]:
    """The modules ``torchaudio.compliance.kaldi`` and ``torchaudio.functional``."""
    names = ("torchaudio.compliance.kaldi", "torchaudio.functional")
    try:
        found = [importlib.import_module(name) for name in names]
    except OSError:  # the wheel's extension wants CUDA libraries that a CPU-only torch lacks
        sys.modules[_EXTENSION] = _extension_stub()
        found = [importlib.import_module(name) for name in names]
    return found[0], found[1]


kaldi, functional = _import()
