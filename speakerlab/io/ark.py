"""The only reader and writer of Kaldi archives: scp and ark files of matrices and vectors.

``FeatureTable("feats.scp")["utt1"]`` is a float array [T, F] or [E], read when asked for;
``with ArkWriter(ark_path, scp_path) as writer: writer.write("utt1", array)`` publishes both files at the end.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from kaldiio import save_ark
from kaldiio.matio import read_matrix_or_vector

from speakerlab.errors import DataError
from speakerlab.io import archive, atomic
from speakerlab.types import EmbeddingTable

# path, then where given ":offset" and "[first:last row,first:last column]", ends included
_ENTRY = re.compile(r"(?P<path>.+?)(:(?P<offset>\d+))?(\[(?P<range>[\d:, ]+)\])?")

_TEXT_ARCHIVE = re.compile(rb"(?:\xef\xbb\xbf)?(\S+)[ \t]+\[")  # the first line of an array in text


class FeatureTable(Mapping[str, npt.NDArray[Any]]):
    """Arrays by key, in the order of an scp file, each read from its archive when asked for.

    Reads binary float and double matrices and vectors, compressed matrices (CM, CM2, CM3) and text;
    ranges such as ``[0:99]`` are cut out as Kaldi does. Archives are where ``archive.locate`` finds them, and
    the key before an offset must be the one of the scp. In place of the scp, a text archive is read too.
    Entries that are commands (``... |``) are refused.

    Raises:
        DataError: a bad scp line or a key given twice at once; on access an unknown key, a missing, ambiguous
            or damaged archive, or one that has another key there. The message names scp, line and archive.
    """

    def __init__(self, scp_path: str | Path) -> None:
        self.path = Path(scp_path)
        self._entries = _read_scp(self.path)
        self._arks: dict[str, Path] = {}  # archive as written in the scp -> where it is

    def __getitem__(self, key: str) -> npt.NDArray[Any]:
        """The array of ``key``: float32 or float64, [rows, columns] or [size], the caller's to change."""
        if key not in self._entries:
            raise DataError(self.path, f"no entry for {key}")
        entry = _ENTRY.fullmatch(self._entries[key])
        if entry is None or "|" in self._entries[key]:
            raise self._error(key, "is not path:offset; commands are refused, copy them to an archive")
        ark, offset = self._find(key, entry["path"]), int(entry["offset"] or 0)
        try:
            with ark.open("rb") as stream:
                self._check_key(ark, stream, key, offset)
                array = _read_array(stream, offset)
            return _cut(array, entry["range"] or "")
        except OSError as error:
            raise self._error(key, f"cannot be read: {error.strerror}") from error
        except (ValueError, AssertionError, EOFError, struct.error) as error:  # all kaldiio has to say
            raise self._error(key, f"damaged, or not a matrix or vector: {error}".rstrip(": ")) from error

    def __iter__(self) -> Iterator[str]:
        """Keys in file order."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        """Whether the scp lists ``key``; the archive is not looked at."""
        return key in self._entries

    def where(self, key: str) -> str:
        """Scp and archive of ``key``, for messages."""
        return f"{self.path}: {self._entries[key]}"

    def archive(self, key: str) -> Path:
        """The archive that holds ``key``.

        Raises:
            DataError: an unknown key, or no such archive.
        """
        entry = _ENTRY.fullmatch(self._entries.get(key, ""))
        if entry is None:
            raise DataError(self.path, f"no entry for {key}")
        return self._find(key, entry["path"])

    def _find(self, key: str, written: str) -> Path:
        """Where the archive ``written`` in the scp is."""
        if written not in self._arks:
            try:
                found = archive.locate(self.path.parent, written)
            except ValueError as error:
                raise self._error(key, str(error)) from error
            if not found.is_file():
                raise self._error(key, "no such archive, nor beside the scp")
            self._arks[written] = found
        return self._arks[written]

    def _check_key(self, ark: Path, stream: BinaryIO, key: str, offset: int) -> None:
        try:
            archive.check_key(ark, stream, key, offset)
        except ValueError as error:
            raise self._error(key, f"{ark}: {error}") from error

    def _error(self, key: str, why: str) -> DataError:
        line = list(self._entries).index(key) + 1
        return DataError(self.path, f"{key}: {self._entries[key]}: {why}", line=line)


def require_key(key: str) -> None:
    """Refuse what cannot be a key of an archive.

    Raises:
        DataError: ``key`` is empty or holds a blank.
    """
    name = key.encode()
    if name.split() != [name]:
        raise DataError(f"'{key}'", "is not a key: blanks end keys", "name it in a wav.scp: KEY PATH")


class ArkWriter:
    """Writes float32 matrices and vectors in Kaldi's binary format, with an scp of absolute paths.

    Both files are staged and appear when the block ends without an error, the scp last.
    """

    def __init__(self, ark_path: Path, scp_path: Path) -> None:
        self._ark_path, self._scp_path = ark_path.absolute(), scp_path
        self._keys: set[str] = set()
        self._files = ExitStack()

    def __enter__(self) -> ArkWriter:
        """Open both files beside their final names."""
        with ExitStack() as files:  # left in reverse: the archive is published first
            self._scp = files.enter_context(atomic.open_text(self._scp_path))
            staged_ark = files.enter_context(atomic.staged(self._ark_path))
            self._ark = files.enter_context(staged_ark.open("wb"))
            self._files = files.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish, or after an error leave nothing."""
        self._files.__exit__(kind, error, trace)

    def write(self, key: str, array: npt.NDArray[Any]) -> None:
        """Append ``array``, [rows, columns] or [size], as float32.

        Raises:
            DataError: ``key`` is empty, holds a blank or was written before.
        """
        require_key(key)
        name = key.encode()
        if key in self._keys:
            raise DataError(self._ark_path, f"{key} is written twice")
        self._keys.add(key)
        offset = self._ark.tell() + len(name) + 1
        save_ark(self._ark, {key: np.ascontiguousarray(array, dtype=np.float32)})
        self._scp.write(f"{key} {self._ark_path}:{offset}\n")


def read_array(path: Path, ndim: int) -> npt.NDArray[np.float64]:
    """The vector (``ndim`` 1) or matrix (2) that is all of a file: ``mean.vec``, ``transform.mat``.

    Raises:
        DataError: it cannot be read, is damaged, holds the other of the two, NaN or Inf.
    """
    try:
        with path.open("rb") as stream:
            array = _read_array(stream, 0).astype(np.float64)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, AssertionError, EOFError, struct.error) as error:
        raise DataError(path, f"damaged, or not a matrix or vector: {error}".rstrip(": ")) from error
    if array.ndim != ndim or not array.size or not np.isfinite(array).all():
        what = ("vector", "matrix")[ndim - 1]
        raise DataError(path, f"an array {array.shape}, not a {what} of finite numbers")
    return array


def read_embeddings(scp_path: str | Path) -> EmbeddingTable:
    """The embeddings an scp lists, in its order: entries [E] or [1, E] become a matrix [N, E].

    Raises:
        DataError: what ``FeatureTable`` raises, entries of differing size, NaN or Inf.
    """
    table = FeatureTable(scp_path)
    rows: list[npt.NDArray[np.float32]] = []
    for key, array in table.items():
        row = array[0] if array.ndim == 2 and len(array) == 1 else array
        size = rows[0].size if rows else row.size
        if row.ndim != 1 or row.size != size or not size:
            raise DataError(scp_path, f"{key} has shape {array.shape}, not that of one embedding, [{size}]")
        rows.append(row.astype(np.float32))
    return EmbeddingTable(tuple(table), np.stack(rows), name=str(scp_path))


def _read_scp(path: Path) -> dict[str, str]:
    """The entries of an scp by key, in file order; line n is entry n."""
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    if not lines:
        raise DataError(path, "is empty")
    if _TEXT_ARCHIVE.match(lines[0]):
        return _text_entries(path)
    entries: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split(maxsplit=1)  # of bytes: only ASCII blanks separate, as in Kaldi
        if len(fields) != 2:
            raise DataError(path, "must be a key and an archive entry", line=number)
        try:
            key, entry = fields[0].decode(), fields[1].strip().decode()
        except UnicodeDecodeError as error:
            raise DataError(path, "not UTF-8; is this the archive?", "give the .scp", number) from error
        if key in entries:
            raise DataError(path, f"{key} appears twice", line=number)
        entries[key] = entry
    return entries


def _text_entries(path: Path) -> dict[str, str]:
    """Entries for each array of a text archive, which has a key at the beginning and a ``]`` at the end."""
    entries: dict[str, str] = {}
    position = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            starts = _TEXT_ARCHIVE.match(line)
            if starts:
                key = starts[1].decode()
                if key in entries:
                    raise DataError(path, f"{key} appears twice", line=number)
                entries[key] = f"{path.absolute()}:{position + starts.end(1) + 1}"
            position += len(line)
    return entries


class _Exact:
    """A stream whose ``read`` gives every byte asked for or fails; kaldiio takes short reads for data."""

    def __init__(self, stream: BinaryIO) -> None:
        position = stream.tell()
        self._stream, self._left = stream, stream.seek(0, 2) - position
        stream.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError("truncated")
        self._left -= size
        return self._stream.read(size)


def _read_array(stream: BinaryIO, offset: int) -> npt.NDArray[Any]:
    """The array at ``offset``. Other things kaldiio can load (pickles!) are not touched."""
    stream.seek(offset)
    is_binary = stream.read(2) == b"\0B"
    stream.seek(offset)
    array = read_matrix_or_vector(_Exact(stream)) if is_binary else _read_text(stream)
    return np.require(array, requirements=["C", "W"])


def _read_text(stream: BinaryIO) -> npt.NDArray[np.float32]:
    """Kaldi's text form: ``[ 1 2 ]`` a vector; a line break after ``[`` makes it a matrix.

    Not left to kaldiio, which reads the whole as integers if the first number has no point.
    """
    text = stream.readline().lstrip()
    if not text.startswith(b"["):
        raise ValueError("neither binary nor text")
    while b"]" not in text:
        line = stream.readline()
        if not line:
            raise EOFError("truncated")
        text += line
    body = text[1 : text.index(b"]")]
    rows = np.array([line.split() for line in body.splitlines() if line.strip()], dtype=np.float32)
    return rows if b"\n" in body else rows.reshape(-1)


def _cut(array: npt.NDArray[Any], ranges: str) -> npt.NDArray[Any]:
    """Rows and, after a comma, columns ``first:last``, ends included, as Kaldi up to 3 past the last."""
    for axis, text in enumerate(ranges.split(",")):
        if text.strip(" :"):
            first, last = (int(bound) for bound in text.split(":"))
            if not first <= last < array.shape[axis] + 3:
                raise ValueError(f"range {text} of {array.shape[axis]}")
            array = array[first : last + 1] if axis == 0 else array[:, first : last + 1]
    return array
