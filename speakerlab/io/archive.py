"""Archives that a list refers to: where they are, and whether what stands at an offset is of the key.

``path = locate(scp.parent, "exp/x/feats.1.ark")``; ``check_key(path, stream, "utt1", 1234)``. Archives of
features, embeddings, VAD and audio have one form: key, blank, value; an offset points to the value.
"""

from __future__ import annotations

import functools
import math
import re
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
_SEPARATORS = "-_.#@+~"  # what stands between an id and the prefix or suffix that a copy of it was given
_MAX_KEY = 4096  # bytes
_STREAMED = 0x7F000000  # bytes: what writers to a pipe state is more
_ID = re.compile(rb"[\w.-]")


def locate(folder: Path, written: str) -> Path:
    """The archive ``written`` in a list of ``folder``; there may be no such file.

    A relative path is looked up in the folder of the list, then in the working directory, as paths in wav.scp
    are. An archive that was moved with its list is found by the last two parts of its path, beside the folder
    of the list or in it, then by its name in that folder.

    Raises:
        ValueError: different files answer to the path.
    """
    given = Path(written)
    last = Path(given.parent.name) / given.name
    for places in ([folder / given, given], [folder.parent / last, folder / last], [folder / given.name]):
        found = [place for place in places if _is_file(place)]
        if any(not place.samefile(found[0]) for place in found[1:]):
            both = " and ".join(str(place.absolute()) for place in found)
            raise ValueError(f"{both} are different files; write the absolute path")
        if found:
            return found[0]
    return folder / given


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def check_key(path: Path, stream: BinaryIO, key: str, offset: int) -> None:
    """Refuse an offset at which the archive has the value of another key.

    A key that a copy of the list was given is accepted: the archive's with a prefix that ends, or a suffix
    that begins, with one of ``- _ . # @ + ~``, such as ``sp0.9-utt1`` and ``utt1-0000-0100`` of ``utt1``.

    Args:
        path: the archive, for what is kept of it.
        stream: it, opened.
        key: the key of the list.
        offset: where its value is; 0 is a file that is a value and has no key.

    Raises:
        ValueError: it is another's, or none begins there.
    """
    if offset == 0:
        return
    wanted = key.encode() + b" "
    is_there = _before(stream, offset, len(wanted)) == wanted
    if is_there and not _ID.fullmatch(_before(stream, offset - len(wanted), 1)):
        return
    status = path.stat()  # the end of another key, as it seems: the archive from its beginning on can tell
    stored = _stored_key(stream, offset, _entries(path, status.st_mtime_ns, status.st_size))
    if not (is_there if stored is None else stored == key or _is_renamed(key, stored)):
        has = f"of '{stored}'" if stored is not None else "of another key"
        raise ValueError(
            f"the value at this offset is {has}; restore the archive that the list was made with"
        )


def file_span(stream: BinaryIO, offset: int) -> tuple[int, int]:
    """Where the audio file at ``offset`` begins and ends.

    Raises:
        ValueError: it is neither WAV nor what kaldiio stores; a WAV file that does not state its length.
    """
    stream.seek(offset)
    head = stream.read(8)
    if head.startswith(b"AUDIO") and len(head) > 5:
        start = offset + 6 + head[5]
    elif head.startswith(b"RIFF"):
        start = offset
    else:
        raise ValueError("neither a WAV file nor one of kaldiio's begins at this offset")
    try:
        stream.seek(offset)
        end = _value_end(stream, offset)
    except (LookupError, struct.error) as error:
        raise ValueError("truncated: the archive ends within a header") from error
    if end - start >= _STREAMED:
        raise ValueError("a WAV file that was written to a pipe states no length; write it to a file first")
    return start, end


def _before(stream: BinaryIO, offset: int, size: int) -> bytes:
    start = max(0, offset - size)
    stream.seek(start)
    return stream.read(offset - start)


def _is_renamed(key: str, stored: str) -> bool:
    added = key.removesuffix(stored) or key
    if added != key and added[-1] in _SEPARATORS:
        return True
    added = key.removeprefix(stored) or key
    return added != key and added[0] in _SEPARATORS


def _stored_key(stream: BinaryIO, offset: int, entries: Int64Array) -> str | None:
    """The key whose value is at ``offset``; None if none is, as far as the archive could be followed."""
    place = int(np.searchsorted(entries[:, 1], offset))
    if place == len(entries) or entries[place, 1] != offset:
        return None
    return _before(stream, offset - 1, offset - 1 - int(entries[place, 0])).decode(errors="replace")


@functools.lru_cache(maxsize=1024)  # 16 bytes an entry
def _entries(path: Path, _mtime_ns: int, size: int) -> Int64Array:
    """Where the keys of an archive and their values begin, int64 [N, 2], as far as it can be followed."""
    places = array("q")
    position = 0
    with path.open("rb") as stream:
        try:
            while position < size:
                stream.seek(position)
                name, blank, _ = stream.read(_MAX_KEY).partition(b" ")
                if not blank:
                    break
                value = position + len(name) + 1
                places.extend((position, value))
                stream.seek(value)
                position = _value_end(stream, value)
        except (ValueError, LookupError, struct.error):  # from here on, it is no archive
            pass
    return np.asarray(places, dtype=np.int64).reshape(-1, 2)


def _value_end(stream: BinaryIO, start: int) -> int:
    """Where the value at ``start`` ends.

    Raises:
        ValueError, LookupError, struct.error: it is of no known form.
    """
    head = stream.read(5)
    if head.startswith(b"\0B"):
        return _binary_end(stream, start, head[2:])
    if head.startswith(b"RIFF"):
        stream.seek(start + 4)
        return start + 8 + int(struct.unpack("<I", stream.read(4))[0])
    if head == b"AUDIO":  # kaldiio's: the bytes of the length, the length, the file
        digits = int(stream.read(1)[0])
        return start + 6 + digits + int.from_bytes(stream.read(digits), "little")
    stream.seek(start)
    line = stream.readline()
    is_array = line.lstrip().startswith(b"[")
    while is_array and line and b"]" not in line:
        line = stream.readline()
    return stream.tell()


_SIZES: dict[bytes, Callable[[int, int], int]] = {  # of what follows the header, by rows and columns
    b"CM ": lambda rows, columns: columns * 8 + rows * columns,
    b"CM2 ": lambda rows, columns: 2 * rows * columns,
    b"CM3 ": lambda rows, columns: rows * columns,
}


def _binary_end(stream: BinaryIO, start: int, kind: bytes) -> int:
    stream.seek(start + 2)
    head = stream.read(20)
    if found := re.match(rb"([FD])([MV]) ", head):
        num = 1 if found[2] == b"V" else 2
        sizes = [struct.unpack("<i", head[4 + 5 * place : 8 + 5 * place])[0] for place in range(num)]
        return start + 5 + 5 * num + int(math.prod(sizes)) * (4 if found[1] == b"F" else 8)
    if kind[:1] == b"\4":  # a vector of int32
        return start + 7 + 4 * int(struct.unpack("<i", head[1:5])[0])
    token = head[:3] if head[2:3] == b" " else head[:4]
    stream.seek(start + 2 + len(token) + 8)
    rows, columns = struct.unpack("<ii", stream.read(8))
    return start + 18 + len(token) + _SIZES[token](int(rows), int(columns))
