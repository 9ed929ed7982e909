"""Where the samples of an audio file end by its header: of a cut file, libsndfile reads what is left.

``end(stream)`` -> the byte after the last sample that the header promises, or None where it states no length;
``check(stream, size)`` raises where the file is shorter. No length is stated by PAF, PVF,
IRCAM and XI files.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

# Writers to a pipe do not know it: they state 0x7F000000 (sox, AIFF), 0x7FFFF000 (sox, WAV), 0xFFFFFFFF
_STREAMED = 0x7EFFFF00  # sox rounds to whole frames
_UNKNOWN, _UNKNOWN64 = 0xFFFFFFFF, 1 << 62
_MATRIX = 14  # of MATLAB 5
_HEADER = 1024  # bytes, enough for every header of a fixed form
_W64_HEADER = 24  # bytes of a chunk's identifier and size


def check(stream: BinaryIO, size: int) -> None:
    """Refuse a file of ``size`` bytes that ends before the samples that its header promises.

    Raises:
        ValueError: it says how much is missing.
    """
    last = end(stream)
    if last is not None and last > size:
        raise ValueError(f"truncated: {last - size} of the {last} bytes that its header promises are missing")


def end(stream: BinaryIO) -> int | None:
    """The byte after the last sample by the header of ``stream``; None if it states none, or is not known.

    Raises:
        ValueError: the file ends within its header.
    """
    stream.seek(0)
    start = stream.read(_HEADER)
    for magic, find in _FORMATS.items():
        if re.match(magic, start, re.DOTALL):
            try:
                return find(stream, start)
            except (struct.error, IndexError) as error:
                raise ValueError("truncated: the file ends within its header") from error
    return None


def wav_data(stream: BinaryIO) -> tuple[int, int]:
    """Position of the samples of a WAV file and their bytes by its header; RF64's 64-bit length counts.

    Raises:
        ValueError: the file ends before them.
    """
    stream.seek(0)
    order = ">" if stream.read(4) == b"RIFX" else "<"
    position, size, length64 = 12, stream.seek(0, 2), 0
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack(order + "4sI", stream.read(8))
        position += 8
        if name == b"ds64":
            (length64,) = struct.unpack("<8xQ", stream.read(16))
        if name == b"data":
            return position, length64 if length64 and length == _UNKNOWN else length
        position += length + length % 2
    raise ValueError("truncated: the WAV file ends before its samples")


def repaired_wav(stream: BinaryIO) -> BinaryIO:
    """The WAV file in ``stream``; a length of 0 left by a writer to a pipe means "to its end"."""
    position, length = wav_data(stream)
    stream.seek(4)
    (riff_size,) = struct.unpack("<I", stream.read(4))
    if length or position - 8 < riff_size < _STREAMED:
        return stream
    stream.seek(0)
    data = stream.read()
    return io.BytesIO(data[: position - 4] + b"\xff" * 4 + data[position:])


def _wav(stream: BinaryIO, start: bytes) -> int | None:
    position, length = wav_data(stream)
    most = _UNKNOWN64 if start.startswith((b"RF64", b"BW64")) else _STREAMED
    return position + length if 0 < length < most and length != _UNKNOWN else None


def _iff(stream: BinaryIO, _: bytes) -> int | None:
    """AIFF and SVX: big-endian chunks, one of which has the samples."""
    position, size = 12, stream.seek(0, 2)
    while position < size:
        stream.seek(position)
        name, length = struct.unpack(">4sI", stream.read(8))
        if name in (b"SSND", b"BODY"):
            return position + 8 + length if 0 < length < _STREAMED else None
        position += 8 + length + length % 2
    raise ValueError("truncated: the file ends before its samples")


def _caf(stream: BinaryIO, _: bytes) -> int | None:
    """Apple's CAF: a size of -1 means to the end of the file."""
    position, size = 8, stream.seek(0, 2)
    while position < size:
        stream.seek(position)
        name, length = struct.unpack(">4sq", stream.read(12))
        if name == b"data":
            return position + 12 + length if length > 0 else None
        position += 12 + max(0, length)
    raise ValueError("truncated: the file ends before its samples")


def _w64(stream: BinaryIO, _: bytes) -> int | None:
    """Sony's W64: sizes count the header of the chunk, chunks begin at multiples of 8."""
    position, size = 40, stream.seek(0, 2)
    while position < size:
        stream.seek(position)
        name, length = struct.unpack("<4s12xQ", stream.read(_W64_HEADER))
        if name == b"data":
            return position + length if _W64_HEADER < length < _UNKNOWN64 else None
        position += max(_W64_HEADER, (length + 7) // 8 * 8)
    raise ValueError("truncated: the file ends before its samples")


def _au(_: BinaryIO, start: bytes) -> int | None:
    order = ">" if start[:4] == b".snd" else "<"
    offset, length = struct.unpack(order + "II", start[4:12])
    return None if length in (0, _UNKNOWN) else int(offset + length)


def _sphere(_: BinaryIO, start: bytes) -> int | None:
    """NIST SPHERE: text fields; what is compressed has another length."""
    head = start.split(b"end_head")[0]
    fields = dict(re.findall(rb"^(\w+) -\S+ (.*?)\s*$", head, re.MULTILINE))
    if fields.get(b"sample_coding", b"pcm") not in (b"pcm", b"ulaw", b"mu-law", b"alaw"):
        return None
    try:
        length = math.prod(
            int(fields[name]) for name in (b"sample_count", b"sample_n_bytes", b"channel_count")
        )
        return int(start[8:16]) + length
    except (KeyError, ValueError):
        return None


def _avr(_: BinaryIO, start: bytes) -> int | None:
    mono, bits = struct.unpack(">hh", start[12:16])
    (frames,) = struct.unpack(">I", start[26:30])
    return 128 + int(frames) * (2 if mono else 1) * int(bits) // 8


def _mat4(stream: BinaryIO, start: bytes) -> int | None:
    """MATLAB 4: matrices one after the other, the last one has the samples."""
    order = ">" if start[2] else "<"
    sizes = (8, 4, 4, 2, 2, 1)  # bytes of a value, by the tens of the type
    position, size = 0, stream.seek(0, 2)
    while position < size:
        stream.seek(position)
        kind, rows, columns, _, name = struct.unpack(order + "5I", stream.read(20))
        position += 20 + name + rows * columns * sizes[kind // 10 % 10]
    return position


def _mat5(stream: BinaryIO, start: bytes) -> int | None:
    """MATLAB 5: tagged elements, those in a matrix too; the last has the samples.

    The length of the matrix around them is not looked at: libsndfile writes 8 bytes too many.
    """
    order = "<" if start[126:128] == b"IM" else ">"
    position, last, size = 128, 128, stream.seek(0, 2)
    while position < size:
        stream.seek(position)
        kind, length = struct.unpack(order + "II", stream.read(8))
        last = position + 8 + (0 if kind >> 16 or kind == _MATRIX else length)  # the value may be in the tag
        position = (last + 7) // 8 * 8
    return last


def _mpc2k(_: BinaryIO, start: bytes) -> int | None:
    (frames,) = struct.unpack("<I", start[30:34])
    return 42 + int(frames) * (2 if start[21] else 1) * 2


def _sds(_: BinaryIO, start: bytes) -> int | None:
    """MIDI sample dump: 120 of 127 bytes of a block have samples, of 7 bits a byte."""
    samples = start[10] | start[11] << 7 | start[12] << 14
    a_block = 120 // ((start[6] + 6) // 7)
    return 21 + 127 * math.ceil(samples / a_block)


def _voc(stream: BinaryIO, start: bytes) -> int | None:
    """Creative VOC: blocks of samples, silence and marks until a block of type 0."""
    position, size = int.from_bytes(start[20:22], "little"), stream.seek(0, 2)
    while position < size:
        stream.seek(position)
        block = stream.read(4)
        length = int.from_bytes(block[1:], "little")
        if block[0] == 0:
            break
        if length == 0:  # not written by who could not go back
            return None
        position += 4 + length
    return position


def _wve(_: BinaryIO, start: bytes) -> int | None:
    (length,) = struct.unpack(">I", start[18:22])
    return 32 + int(length)


_FORMATS: dict[bytes, Callable[[BinaryIO, bytes], int | None]] = {
    rb"(RIFF|RIFX|RF64|BW64).{4}WAVE": _wav,
    rb"FORM.{4}(AIF[FC]|8SVX|16SV)": _iff,
    rb"caff": _caf,
    rb"riff\x2e\x91\xcf\x11": _w64,
    rb"\.snd|dns\.": _au,
    rb"NIST_1A": _sphere,
    rb"2BIT": _avr,
    rb"MATLAB 5": _mat5,
    rb"(\0\0\0\0|\0\0\x03\xe8).{12}\0\0\0.samplerate\0": _mat4,
    rb".\0\0\0.{12}.\0\0\0samplerate\0": _mat4,
    rb"\x01\x04.{40}": _mpc2k,
    rb"\xf0\x7e.\x01": _sds,
    rb"Creative Voice File": _voc,
    rb"ALawSoundFile": _wve,
}
