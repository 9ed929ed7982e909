"""ONNX files as ``speakerlab export`` leaves them, sealed with a hash, and ONNX Runtime to run them.

``write(path, metadata)``; ``read(path)`` -> metadata; ``open_sealed(path, num_threads=1)`` -> a session.
Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speakerlab import onnxruntime_import
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.hub import rule as rules
from speakerlab.hub.rule import Rule
from speakerlab.io import atomic

REVISION = 2  # of what onnx_export writes for a network: kept graphs of another are made anew
# The hash is of the whole file, with zeros where it stands itself.
_SEAL = "file_sha256"
_BLANK = "0" * 64
_MARK = _SEAL.encode() + b"\x12\x40"  # in protobuf: the key, then a text of 64 bytes
_FIX = "export it again: speakerlab export"


def write(path: Path, metadata: Mapping[str, str]) -> None:
    """Put ``metadata`` into the ONNX file ``path``, in place of what it had, and seal it."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {**metadata, _SEAL: _BLANK})
    data = model.SerializeToString()
    start, end = _place(data)
    path.write_bytes(data[:start] + _digest(data) + data[end:])


def sealed(path: Path) -> bytes:
    """The content of a file that ``write`` wrote.

    Raises:
        DataError: it cannot be read, is not such a file, or was changed since.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    start, end = _place(data)
    if start < 0:
        raise DataError(path, "is cut off, or no file of this version's speakerlab export", _FIX)
    if data[start:end] != _digest(data):
        raise DataError(path, "is damaged: it does not match its hash", _FIX)
    return data


def with_rule(path: Path, out: Path, rule: Rule) -> None:
    """Publish the file ``path`` that ``write`` wrote as ``out``, with ``rule`` in place of the one it had.

    Raises:
        DataError: see ``sealed``; or ``out`` cannot be written.
        MissingExtraError: onnx is not installed.
    """
    told = read(path)
    kept = {key: value for key, value in told.items() if key not in {"input", _SEAL, *rules.KEYS}}
    with atomic.staged(out) as staged:
        staged.write_bytes(path.read_bytes())
        write(staged, {**kept, **rules.metadata(rule)})


def read(path: Path) -> dict[str, str]:
    """The metadata of a file that ``write`` wrote, and the name of its input as ``input``.

    Raises:
        DataError: see ``sealed``; or weights in another file.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    model = onnx.load_model_from_string(sealed(path))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise DataError(path, "keeps weights in another file, which is not read", _FIX)
    told = {entry.key: entry.value for entry in model.metadata_props}
    return {**told, "input": ",".join(value.name for value in model.graph.input)}


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of ``graph`` and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def runtime() -> Any:
    """ONNX Runtime.

    Raises:
        MissingExtraError: it is not installed.
    """
    return onnxruntime_import.runtime("onnx")


def session_settings(num_threads: int) -> Any:
    """Settings of a session; ``num_threads`` 0 takes all cores."""
    settings = runtime().SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = num_threads, 1
    settings.log_severity_level = 3  # errors
    # Plans and arenas are kept for each length that occurs: memory would grow with the list.
    settings.enable_cpu_mem_arena = settings.enable_mem_pattern = False
    return settings


def open_sealed(path: Path, num_threads: int) -> Any:
    """A session of a file that ``write`` wrote.

    Raises:
        DataError: see ``sealed``; or this version of ONNX Runtime cannot run it.
    """
    data, errors = sealed(path), runtime().capi.onnxruntime_pybind11_state
    try:
        return open_session(data, session_settings(num_threads))
    except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as error:
        why = str(error).strip().rpartition("\n")[2]
        raise DataError(path, f"cannot be run: {why}", "upgrade onnxruntime, or export it again") from error


def open_session(model: Path | bytes, settings: Any) -> Any:
    """A session of a file or its content."""
    source = str(model) if isinstance(model, Path) else model
    return runtime().InferenceSession(source, settings, providers=["CPUExecutionProvider"])


def _place(data: bytes) -> tuple[int, int]:
    """Where in ``data`` its hash stands; negative where it has none."""
    start = data.rfind(_MARK)
    return (start + len(_MARK), start + len(_MARK) + len(_BLANK)) if start >= 0 else (-1, -1)


def _digest(data: bytes) -> bytes:
    (start, end), view = _place(data), memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK.encode())
    digest.update(view[end:])
    return digest.hexdigest().encode()
