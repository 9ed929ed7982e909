"""Parts of a data dir, and data dirs put together: every function takes and returns ``Contents``.

``of_speakers(contents, choose(list(contents.speakers()), 20, rng))``; ``split(contents, 8)``;
``combine([first, second])``. The trial lists, genders, features and durations follow the utterances.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from speakerlab.data.contents import Contents
from speakerlab.data.lines import lines
from speakerlab.errors import DataError
from speakerlab.parallel import share

T = TypeVar("T")


def choose(items: Sequence[T], count: int, rng: np.random.Generator, where: Path) -> list[T]:
    """``count`` of ``items``, in their order.

    Raises:
        DataError: there are not so many; ``where`` is named.
    """
    if not 1 <= count <= len(items):
        raise DataError(where, f"has {len(items)} to choose from, not {count}", f"ask for 1 to {len(items)}")
    return [items[place] for place in sorted(rng.choice(len(items), count, replace=False))]


def read_ids(path: Path, known: Collection[str]) -> list[str]:
    """Ids in ``path``, one on each line, all of them in ``known``.

    Raises:
        DataError: more than an id on a line, an id twice or not in ``known``.
    """
    first: dict[str, int] = {}
    for number, line in lines(path):
        name = line.decode().strip()
        if name in first:
            raise DataError(path, f"'{name}' is on line {first[name]} already", "write it once", number)
        if name not in known:
            raise DataError(path, f"'{name}' is not in the data dir", "write one of its ids per line", number)
        first[name] = number
    return list(first)


def of_utterances(contents: Contents, utt_ids: Collection[str]) -> Contents:
    """The part of ``contents`` with these utterances."""
    keep = set(utt_ids)
    return contents.select(u for u in contents.data.utterances if u.utt_id in keep)


def of_speakers(contents: Contents, spk_ids: Collection[str]) -> Contents:
    """The part of ``contents`` with the utterances of these speakers."""
    keep = set(spk_ids)
    return contents.select(u for u in contents.data.utterances if u.spk_id in keep)


def split(contents: Contents, num_parts: int) -> list[Contents]:
    """Contiguous shares of the utterances, without trials, whose two sides may be in different shares.

    Raises:
        DataError: fewer utterances than parts.
    """
    utterances = contents.data.utterances
    if not 1 <= num_parts <= len(utterances):
        why = f"{len(utterances)} utterances cannot be split in {num_parts}"
        raise DataError(contents.data.path, why, f"ask for 1 to {len(utterances)} parts")
    plain = replace(contents, trials={}, models={})
    return [plain.select(share(utterances, job, num_parts)) for job in range(1, num_parts + 1)]
