"""Score files, ``enroll test score`` per line: the only reader and writer of them.

In and out: a path and a ``ScoreTable``. ``write(Path("exp/scores"), table)``; ``read(path, trials)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speakerlab.data.lines import lines, write_table
from speakerlab.errors import DataError
from speakerlab.types import ScoreTable, TrialList

AGAIN = "score the list again"


def write(path: Path, table: ScoreTable) -> None:
    """Publish ``table`` as ``path`` in the order of its trials, with every digit of the scores."""
    trials = table.trials
    texts = map(repr, table.scores.tolist())
    write_table(path, zip(trials.enroll_ids, trials.test_ids, texts, strict=True))


def read(path: Path, trials: TrialList) -> ScoreTable:
    """The scores in ``path`` of exactly the pairs in ``trials``, in the order of ``trials``.

    Raises:
        DataError: a line that is not ``enroll test score`` with a finite score; a pair that is scored twice,
            is not a trial, or has no score. The message names the first pair and says how many there are.
    """
    row_of = {pair: row for row, pair in enumerate(zip(trials.enroll_ids, trials.test_ids, strict=True))}
    scores = np.full(len(trials), np.nan)
    faults: dict[str, list[tuple[int, tuple[str, str]]]] = {}
    for line, pair, score in _parse(path):
        row = row_of.get(pair)
        if row is None:
            faults.setdefault(f"is not in {trials.name}", []).append((line, pair))
        elif not math.isnan(scores[row]):
            faults.setdefault("is scored twice", []).append((line, pair))
        else:
            scores[row] = score
    if faults:
        why, places = next(iter(faults.items()))
        line, pair = places[0]
        raise DataError(path, f"pair '{' '.join(pair)}' {why} ({len(places)} such lines)", AGAIN, line)
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        first = f"{trials.enroll_ids[missing[0]]} {trials.test_ids[missing[0]]}"
        raise DataError(path, f"no score for pair '{first}' ({len(missing)} such pairs)", AGAIN)
    return ScoreTable(trials, scores)


def _parse(path: Path) -> Iterator[tuple[int, tuple[str, str], float]]:
    for number, line in lines(path):
        fields = [field.decode() for field in line.split()]
        if len(fields) != 3:
            raise DataError(path, f"{len(fields)} fields", "write: enroll test score", number)
        yield number, (fields[0], fields[1]), _finite(fields[2], path, number)


def _finite(text: str, path: Path, line: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(path, f"score '{text}' is not a finite number", AGAIN, line)
    return score
