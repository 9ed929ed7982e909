"""Trial lists and keys of the NIST evaluations: tables with tabs since SRE16, comma-separated lines before.

``for number, row in rows(path, needed=("modelid", "segmentid")): ...``. The names of columns are those of
SRE18; a key of SRE08 or SRE10 has a model, a segment, its side, ``target`` or ``nontarget``, and conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speakerlab.data.lines import lines
from speakerlab.errors import DataError

LABELS = {b"target": 1, b"nontarget": 0, b"1": 1, b"0": 0}
_NAMES = {"segment": "segmentid", "llr": "LLR"}  # as SRE16 and some tools write them
_OLD = ("modelid", "segmentid", "side", "targettype")  # of the comma-separated keys, whose header varies


def is_header(fields: Sequence[bytes]) -> bool:
    """Whether ``fields`` are the first line of a table of trials."""
    return {"modelid", "segmentid"} <= {_name(field) for field in fields}


def is_key(path: Path) -> bool:
    """Whether ``path`` is a list or a key of NIST."""
    first = [line for _, line in zip(range(2), (text for _, text in lines(path)), strict=False)]
    return bool(first) and (is_header(first[0].split()) or any(map(_is_old, first)))


def rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Line numbers and values by column, which are called as in SRE18.

    Raises:
        DataError: a header without a column of ``needed``, a line of another length, an id with a blank, a
            target type that is none.
    """
    names: list[str] = []
    for number, line in lines(path):
        text = line.rstrip(b"\r\n")
        separator = b"\t" if b"\t" in text or not _is_comma_separated(text) else b","
        fields = text.split(separator)
        if not names:
            names = _header(path, number, fields, needed, is_old=separator == b",")
            if not _is_old(text):
                continue
        if len(fields) != len(names):
            why = f"{len(fields)} columns where the header has {len(names)}"
            raise DataError(path, why, "separate columns by tabs", number)
        row = dict(zip(names, fields, strict=True))
        _check(path, number, row)
        yield number, row


def segment(row: Mapping[str, bytes]) -> bytes:
    """The id of a test segment: a conversation of two sides is two of them."""
    side = row.get("side", b"a")
    return row["segmentid"] if side == b"a" else row["segmentid"] + b":" + side


def label(row: Mapping[str, bytes]) -> int:
    """1 target, 0 non-target, -1 unknown."""
    return LABELS.get(row.get("targettype", b""), -1)


def _name(field: bytes) -> str:
    name = field.decode(errors="replace").strip()
    return _NAMES.get(name.lower(), name)


def _is_comma_separated(line: bytes) -> bool:
    return line.count(b",") >= len(_OLD) - 1


def _is_old(line: bytes) -> bool:
    """Whether ``line`` is a trial of a comma-separated key: ``10001,taaaa,a,target,Y,N``."""
    fields = line.split(b",")
    return len(fields) >= len(_OLD) and fields[2] in (b"a", b"b") and fields[3] in (b"target", b"nontarget")


def _header(
    path: Path, number: int, fields: Sequence[bytes], needed: Sequence[str], *, is_old: bool
) -> list[str]:
    names = [_name(field) for field in fields]
    if is_old:  # by place, whatever the header calls them
        names = [*_OLD, *names[len(_OLD) :]]
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(path, f"the header has no '{missing[0]}'", "separate columns by tabs", number)
    return names


def _check(path: Path, number: int, row: Mapping[str, bytes]) -> None:
    for name in ("modelid", "segmentid"):
        if row[name].split() != [row[name]]:
            why = f"{name} '{row[name].decode()}' is not an id"
            raise DataError(path, why, "ids have no blanks", number)
    if row.get("targettype", b"target") not in LABELS:
        why = f"target type '{row['targettype'].decode()}'"
        raise DataError(path, why, "write target or nontarget", number)
