"""Kaldi's binary ``plda`` file: mean, transform and psi of ``ivector-compute-plda``.

In and out: float64 arrays [D], [D, D] and [D].
``mean, transform, psi = read(path)``; ``write(path, mean, transform, psi)``.
"""

from __future__ import annotations

import contextlib
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.types import Float64Array

# Plda::Write of ivector/plda.cc after the mark of binary files; Vector and Matrix of matrix/kaldi-*.cc: a
# token, each dimension as a byte 4 and an int32, then the numbers by row. Everything is little-endian.
MARK, OPEN, CLOSE = b"\0B", b"<Plda> ", b"</Plda> "
_SIZES = {b"F": 4, b"D": 8}  # bytes of a number
FIX = "write it with ivector-compute-plda, or ivector-copy-plda --binary=true"


def read(path: Path) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Mean [D], transform [D, D] and psi [D], in double or single precision in the file.

    Raises:
        DataError: it cannot be read, is not binary, not a plda file, cut short, followed by something, or
            its sizes do not fit.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", FIX) from error
    if data.startswith(OPEN):
        raise DataError(path, "is Kaldi's text form", FIX)
    if not data.startswith(MARK + OPEN):
        raise DataError(path, "not Kaldi's plda file", FIX)
    cursor = _Cursor(data, len(MARK + OPEN))
    try:
        mean, transform, psi = cursor.array(1), cursor.array(2), cursor.array(1)
        cursor.expect(CLOSE)
    except (ValueError, struct.error) as error:
        raise DataError(path, f"damaged Kaldi plda file: {error}", FIX) from error
    if cursor.position != len(data):
        raise DataError(path, f"{len(data) - cursor.position} bytes follow the end of the plda", FIX)
    if not mean.size or psi.shape != mean.shape or transform.shape != mean.shape * 2:
        sizes = f"mean {mean.shape}, transform {transform.shape}, psi {psi.shape}"
        raise DataError(path, f"sizes do not fit: {sizes}", FIX)
    return mean, transform, psi


def is_plda(path: Path) -> bool:
    """Whether ``path`` begins as Kaldi's plda does, binary or text."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return stream.read(len(MARK + OPEN)).removeprefix(MARK).startswith(OPEN)
    return False


def write(path: Path, mean: Float64Array, transform: Float64Array, psi: Float64Array) -> None:
    """Publish as ``path``, in double precision as Kaldi does; [D], [D, D] and [D]."""
    _publish(path, OPEN, *map(_encode, (mean, transform, psi)), CLOSE)


def write_array(path: Path, array: Float64Array) -> None:
    """Publish a vector [D] or matrix [rows, columns] as a binary file of its own, as ``mean.vec`` is."""
    _publish(path, _encode(array))


def _publish(path: Path, *parts: bytes) -> None:
    with atomic.staged(path) as temporary:
        temporary.write_bytes(b"".join((MARK, *parts)))


def _encode(array: npt.NDArray[Any]) -> bytes:
    """A vector [D] or matrix [rows, columns] as Kaldi writes it, in double precision, without the mark."""
    token = b"DV " if array.ndim == 1 else b"DM "
    sizes = b"".join(struct.pack("<bi", 4, size) for size in array.shape)
    return token + sizes + np.ascontiguousarray(array, dtype="<f8").tobytes()


class _Cursor:
    """Reads Kaldi objects one after the other; ValueError says what is wrong."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self.position = data, position

    def _take(self, size: int) -> bytes:
        taken = self._data[self.position : self.position + size]
        if size < 0 or len(taken) < size:
            raise ValueError("cut short")
        self.position += size
        return taken

    def expect(self, token: bytes) -> None:
        """Skip ``token``."""
        found = self._take(len(token))
        if found != token:
            raise ValueError(f"{found!r} where {token!r} should be")

    def array(self, ndim: int) -> Float64Array:
        """The vector (``ndim`` 1) or matrix (2) that is next."""
        token = self._take(3)
        num_bytes = _SIZES.get(token[:1])
        if num_bytes is None or token[1:] != (b"V ", b"M ")[ndim - 1]:
            raise ValueError(f"{token!r} where a {('vector', 'matrix')[ndim - 1]} should be")
        shape = []
        for _ in range(ndim):
            width, size = struct.unpack("<bi", self._take(5))
            if width != 4 or size < 0:
                raise ValueError(f"a dimension of {size} in {width} bytes")
            shape.append(size)
        data = self._take(math.prod(shape) * num_bytes)
        return np.frombuffer(data, dtype=f"<f{num_bytes}").astype(np.float64).reshape(shape)
