"""Ogg files by their pages: libsndfile reads the first stream of a file and drops a broken page in silence.

``audio_streams(stream)`` -> for each chained part the Ogg file of its one audio stream, to be read one after
the other; ``Chain(decoders)`` does so. Video and other tracks beside it are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from speakerlab.types import Float32Array

_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_HEADER = 27  # bytes of a page before its table of lengths, RFC 3533
_FIRST, _LAST = 2, 4  # flags


@dataclass
class _Track:
    """The pages of one logical stream: where they begin and end in the file."""

    is_audio: bool
    pages: list[tuple[int, int]] = field(default_factory=list)
    number: int = 0  # of its last page
    ended: bool = False


def audio_streams(stream: BinaryIO) -> list[BinaryIO]:
    """One Ogg file for each chained part; ``[stream]`` itself where there is one part with one track.

    Raises:
        ValueError: truncated, a page missing, no audio, several audio tracks side by side.
    """
    links = _links(stream)
    if len(links) == 1 and len(links[0]) == 1:
        stream.seek(0)
        return [stream]
    found: list[BinaryIO] = []
    for link in links:
        tracks = [track for track in link.values() if track.is_audio]
        if len(tracks) > 1:
            raise ValueError(f"has {len(tracks)} audio tracks side by side; choose one: ffmpeg -map 0:a:0")
        found += [_joined(stream, track) for track in tracks]
    if not found:
        raise ValueError("an Ogg file without audio")
    return found


def _joined(stream: BinaryIO, track: _Track) -> BinaryIO:
    parts = []
    for start, end in track.pages:
        stream.seek(start)
        parts.append(stream.read(end - start))
    return io.BytesIO(b"".join(parts))


def _links(stream: BinaryIO) -> list[dict[int, _Track]]:
    """The tracks by serial number of each chained part."""
    links: list[dict[int, _Track]] = []
    in_heads = False  # the first pages of all tracks of a part stand together
    for start, end, head, body in _pages(stream):
        flags, serial = head[5], int.from_bytes(head[14:18], "little")
        number = int.from_bytes(head[18:22], "little")
        if flags & _FIRST:
            if not in_heads:
                _require_ended(links)
                links.append({})
            links[-1][serial] = _Track(body.startswith(_AUDIO), number=number)
        elif not links or serial not in links[-1]:
            raise ValueError("damaged: an Ogg page of a track that has no first page")
        track = links[-1][serial]
        if track.is_audio and not flags & _FIRST and number != track.number + 1:
            raise ValueError(f"pages are missing: Ogg page {track.number} is followed by page {number}")
        in_heads = bool(flags & _FIRST)
        track.number, track.ended = number, bool(flags & _LAST)
        track.pages.append((start, end))
    _require_ended(links)
    return links


def _require_ended(links: list[dict[int, _Track]]) -> None:
    if links and not all(track.ended for track in links[-1].values() if track.is_audio):
        raise ValueError("truncated: the last Ogg page is not marked as the end of its track")


def _pages(stream: BinaryIO) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Start, end, header and first bytes of each page; what follows the last page is not looked at."""
    size, position = stream.seek(0, io.SEEK_END), 0
    while position < size:
        stream.seek(position)
        head = stream.read(_HEADER + 255)
        if not head.startswith(b"OggS"):
            if position and b"OggS" not in head + stream.read():
                return  # tags
            raise ValueError(f"damaged: no Ogg page at byte {position}")
        num_parts = head[26] if len(head) > 26 else 255
        body = _HEADER + num_parts
        end = position + body + sum(head[_HEADER:body])
        if len(head) < body or end > size:
            raise ValueError("truncated: the last Ogg page is not whole")
        yield position, end, head, head[body : body + 8]
        position = end


class Chain:
    """Decoders (``soundfile.SoundFile``) one after the other as one of the sum of their frames.

    Raises:
        ValueError: they differ in rate or number of channels.
    """

    def __init__(self, sounds: Sequence[Any]) -> None:
        self._sounds = sounds
        self.samplerate, self.channels, self.format = sounds[0].samplerate, sounds[0].channels, "OGG"
        self.frames = sum(sound.frames for sound in sounds)
        if {(sound.samplerate, sound.channels) for sound in sounds} != {(self.samplerate, self.channels)}:
            raise ValueError("its chained parts differ in rate or number of channels; convert it")

    def seek(self, frame: int) -> int:
        """Go to ``frame``, counted from the beginning of the first."""
        rest = frame
        for sound in self._sounds:
            place = min(rest, sound.frames)
            sound.seek(place)
            rest -= place
        return frame

    def read(self, frames: int, dtype: str, *, always_2d: bool) -> Float32Array:
        """Up to ``frames`` frames from here on, [S, channels]."""
        parts: list[Float32Array] = []
        for sound in self._sounds:
            parts.append(sound.read(frames, dtype=dtype, always_2d=always_2d))
            frames -= len(parts[-1])
        return np.concatenate(parts)

    def __enter__(self) -> Chain:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all decoders."""
        for sound in self._sounds:
            sound.close()
