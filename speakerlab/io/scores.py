"""Score files, ``enroll test score`` per line, and the card beside each: the only reader and writer of them.

``with score_writer(path, card) as writer: writer.write(enroll_ids, test_ids, scores)`` for each block;
``write(path, table)`` and ``read(path, trials)`` for lists that fit in memory.

What was done to get the scores stands in a card, ``<scores>.json`` beside them, and not in a header: Kaldi's
score files have none, and a line of another shape breaks the awk and Python one-liners that join three
columns with a trial list. Lines at the top that start with ``#`` are skipped all the same: others write them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from speakerlab.data.lines import blocks, columns
from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.types import ScoreTable, TrialList

T = TypeVar("T")
LEFT_OUT = "left_out"  # entry of the card: ids without embedding, whose trials have no score
AGAIN = "score the list again"
# Products of float32 rows of length 1 are off by 6e-8 and more: further digits would be noise, and slow.
DECIMALS = 8
_LINE = f"%b %b %.{DECIMALS}f\n".encode()
_BLOCK_SCORES = 1 << 14  # formatted by one operation: what it reads and writes stays in cache


def card_path(path: Path) -> Path:
    """Where the card of the scores in ``path`` is."""
    return path.with_name(path.name + ".json")


class ScoreWriter:
    """Appends blocks of scores to a stream; ``num_scores`` counts them."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream, self.num_scores = path, stream, 0

    def write(
        self, enroll_ids: Sequence[bytes], test_ids: Sequence[bytes], scores: npt.NDArray[np.float64]
    ) -> None:
        """Append n lines; ids are UTF-8 without blanks, as a trial list has them.

        Raises:
            DataError: a score is NaN or infinite, or the file would begin as a comment does; nothing is
                published then.
        """
        if not self.num_scores and len(scores) and enroll_ids[0].startswith(b"#"):
            why = f"the file would begin with '{enroll_ids[0].decode()}', which reads as a comment"
            raise DataError(self._path, why, "rename this id, or put another trial first")
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            pair = f"{enroll_ids[bad[0]].decode()} {test_ids[bad[0]].decode()}"
            why = f"the score of '{pair}' would be {scores[bad[0]]} ({len(bad)} such scores)"
            raise DataError(self._path, why, "check the embeddings and the back-end")
        for start in range(0, len(scores), _BLOCK_SCORES):
            block = slice(start, start + _BLOCK_SCORES)
            fields: list[Any] = [None] * (3 * len(scores[block]))
            fields[0::3], fields[1::3], fields[2::3] = (
                enroll_ids[block],
                test_ids[block],
                scores[block].tolist(),
            )
            self._stream.write((_LINE * (len(fields) // 3)) % tuple(fields))
        self.num_scores += len(scores)


@contextmanager
def score_writer(path: Path, card: Mapping[str, Any] | None = None) -> Iterator[ScoreWriter]:
    """A writer whose scores become ``path`` when the block ends without an error, then ``card`` its card.

    A card that was there goes before the scores are replaced: a killed run leaves scores without a card,
    never with that of others.
    """
    with atomic.staged(path) as temporary, temporary.open("wb") as stream:
        writer = ScoreWriter(path, stream)
        yield writer
        stream.flush()
        card_path(path).unlink(missing_ok=True)
    if card is not None:
        content = {**card, "num_scores": writer.num_scores}
        atomic.write_text(card_path(path), json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write(path: Path, table: ScoreTable, card: Mapping[str, Any] | None = None) -> None:
    """Publish ``table`` as ``path`` in the order of its trials, with 8 decimals, and ``card`` beside it.

    Raises:
        DataError: an id that would not read back, a score that is not finite.
    """
    trials = table.trials
    names = _encoded(path, trials)
    with score_writer(path, card) as writer:
        enroll_ids, test_ids = (
            list(map(names.__getitem__, ids)) for ids in (trials.enroll_ids, trials.test_ids)
        )
        writer.write(enroll_ids, test_ids, table.scores)


def card(path: Path) -> dict[str, Any]:
    """The card of the scores in ``path``; empty where there is none.

    Raises:
        DataError: it is not JSON.
    """
    beside = card_path(path)
    if not beside.exists():
        return {}
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(beside, f"not JSON: {error}", AGAIN) from error
    return content if isinstance(content, dict) else {}


def left_out(path: Path) -> frozenset[str]:
    """The ids whose trials the card of the scores in ``path`` lists as left out."""
    return frozenset(map(str, card(path).get(LEFT_OUT, [])))


def read(path: Path, trials: TrialList) -> ScoreTable:
    """The scores in ``path`` of exactly the pairs in ``trials``, in the order of ``trials``.

    Trials of the ids that ``left_out`` gives are none: they have no score.

    Raises:
        DataError: a line that is not ``enroll test score`` with a finite score; a pair that is scored twice,
            is not a trial, or has no score. The message names the first pair and says how many there are.
    """
    trials = trials.without(left_out(path))
    names = dict.fromkeys(itertools.chain(trials.enroll_ids, trials.test_ids))
    number = {name: code for code, name in enumerate(names)}
    codes = _Codes({name.encode(): code for name, code in number.items()})
    wanted = _pairs(number, trials.enroll_ids, trials.test_ids)
    found = _read_all(path, codes)
    if np.array_equal(found.pairs, wanted):
        return ScoreTable(trials, found.scores)
    return ScoreTable(trials, _arranged(path, trials, found, wanted))


class _Codes(dict[bytes, int]):
    """Numbers of ids; -1 for an unknown one."""

    def __missing__(self, key: bytes) -> int:
        return -1


class _Found(NamedTuple):
    """What a score file holds: pairs as numbers [n], -1 for unknown ids, scores [n], line of the first."""

    pairs: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    line: int


def _pairs(codes: Mapping[T, int], enroll_ids: Sequence[T], test_ids: Sequence[T]) -> npt.NDArray[np.int64]:
    """A number for each pair of ids; -1 if the code of one of them is."""
    enroll, test = (np.fromiter(map(codes.__getitem__, i), np.int64, len(i)) for i in (enroll_ids, test_ids))
    return np.where((enroll < 0) | (test < 0), -1, enroll * len(codes) + test)


def _arranged(
    path: Path, trials: TrialList, found: _Found, wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The scores found in the order of ``wanted``, whose pairs must be the same."""
    order = np.argsort(found.pairs, kind="stable")
    ordered = found.pairs[order]
    again = np.zeros(len(order), dtype=bool)
    again[order[1:]] = ordered[1:] == ordered[:-1]
    strange = ~np.isin(found.pairs, wanted)
    bad = np.flatnonzero(strange | again)
    if len(bad):
        line = found.line + int(bad[0])
        why = f"is not in {trials.name}" if strange[bad[0]] else "is scored twice"
        number = strange.sum() if strange[bad[0]] else (again & ~strange).sum()
        raise DataError(path, f"pair '{_pair_on(path, line)}' {why} ({number} such lines)", AGAIN, line)
    missing = np.flatnonzero(~np.isin(wanted, found.pairs))
    if len(missing):
        first = f"{trials.enroll_ids[missing[0]]} {trials.test_ids[missing[0]]}"
        raise DataError(path, f"no score for pair '{first}' ({len(missing)} such pairs)", AGAIN)
    places = order[np.searchsorted(ordered, wanted)]
    return np.asarray(found.scores[places])


def _read_all(path: Path, codes: Mapping[bytes, int]) -> _Found:
    """All of a score file; comments at its top are passed over."""
    pairs, scores, first_line = [np.empty(0, dtype=np.int64)], [np.empty(0)], 1
    for number, block in blocks(path):
        if number == first_line:
            while block.startswith(b"#"):
                block = block.partition(b"\n")[2]  # noqa: PLW2901
                first_line += 1
            if not block:
                continue
        fields = columns(block, 3)
        values = _values(fields[2]) if fields else None
        if fields is None or values is None:
            raise _fault(path, block, max(number, first_line))
        pairs.append(_pairs(codes, fields[0], fields[1]))
        scores.append(values)
    return _Found(np.concatenate(pairs), np.concatenate(scores), first_line)


def _values(texts: Sequence[bytes]) -> npt.NDArray[np.float64] | None:
    """The numbers in ``texts``; None if one is not a finite number."""
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _fault(path: Path, block: bytes, number: int) -> DataError:
    """What is wrong with the first bad line of ``block``, which starts on line ``number``."""
    rows = [line.split() for line in block.split(b"\n")]
    place = next(i for i, fields in enumerate(rows) if len(fields) != 3 or _values(fields[2:]) is None)
    fields, line = rows[place], number + place
    if len(fields) != 3:
        return DataError(path, f"{len(fields)} fields", "write: enroll test score", line)
    return DataError(path, f"score '{fields[2].decode()}' is not a finite number", AGAIN, line)


def _pair_on(path: Path, line: int) -> str:
    """The pair on one line of ``path``."""
    for number, block in blocks(path):
        rows = block.split(b"\n")
        if line < number + len(rows):
            return b" ".join(rows[line - number].split()[:2]).decode()
    return ""


def _encoded(path: Path, trials: TrialList) -> dict[str, bytes]:
    """Each id as it is written.

    Raises:
        DataError: an id that would not read back as it is.
    """
    names: dict[str, bytes] = {}
    for name in {*trials.enroll_ids, *trials.test_ids}:
        try:
            names[name] = name.encode()
        except UnicodeEncodeError:
            names[name] = b""
        if names[name].split() != [names[name]] or b"\0" in names[name] or name.startswith("\ufeff"):
            raise DataError(path, f"cannot write id {name!r}", "ids must be UTF-8 without blanks")
    return names
