"""The files of a call: ``xvector.ark``, ``ref_xvector.ark``, ``score.txt`` and ModelScope's ``<name>.npy``.

Each appears whole or not at all; ``score.txt`` is the last. What an earlier call left there and this one does
not write is removed, so that the folder speaks of one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from speakerlab.data.lines import write_table
from speakerlab.errors import AudioError, DataError
from speakerlab.io import atomic
from speakerlab.io.ark import ArkWriter, require_key
from speakerlab.pipeline.decision import Decision
from speakerlab.pipeline.embedding import Embedded
from speakerlab.pipeline.sources import Utterances

FIRST, SECOND = "xvector", "ref_xvector"
SCORES, UNCERTAIN, FAILURES = "score.txt", "uncertain.tsv", "failures.tsv"
T = TypeVar("T")


def write(
    folder: Path,
    columns: Sequence[Mapping[str, Embedded | AudioError]],
    decisions: Mapping[str, Decision | AudioError],
) -> None:
    """Publish the embeddings of one input, or of two and ``key p`` lines of their comparison.

    ``p`` is the mapped score in 0..1, 6 decimals, 0 where there is no decision. ``uncertain.tsv`` gives key
    and reasons of what no decision should rest on: pairs, or embeddings of a single input, such as those of
    silence. ``failures.tsv`` lists the keys that are missing elsewhere, and why.

    Raises:
        DataError: there is no embedding to write, a key that holds a blank, a folder that cannot be written.
    """
    if not any(usable(column) for column in columns):
        why = next((str(found) for found in columns[0].values()), "the list is empty")
        raise DataError(folder, f"nothing is written: no recording can be used; the first: {why}")
    for key in columns[0]:
        require_key(key)
    with atomic.writing(folder):
        for name in (f"{SECOND}.scp", f"{SECOND}.ark", SCORES, UNCERTAIN, FAILURES):
            (folder / name).unlink(missing_ok=True)
    failed = {key: found.why for c in columns for key, found in c.items() if isinstance(found, AudioError)}
    _write_reasons(folder / FAILURES, failed)
    for name, column in zip((FIRST, SECOND), columns, strict=False):
        _write_ark(folder, name, usable(column))
    if len(columns) == 1:
        heard = {key: found.heard.speech.reasons for key, found in usable(columns[0]).items()}
        _write_reasons(folder / UNCERTAIN, {key: "; ".join(why) for key, why in heard.items() if why})
        return
    decided = usable(decisions)
    undecided = {key: "; ".join(found.reasons) for key, found in decided.items() if found.reasons}
    _write_reasons(folder / UNCERTAIN, undecided)
    if decided:
        write_table(folder / SCORES, ((key, f"{found.scores[0]:.6f}") for key, found in decided.items()))


def usable(column: Mapping[str, T | AudioError]) -> dict[str, T]:
    """What is no error, in order."""
    return {key: found for key, found in column.items() if not isinstance(found, AudioError)}


def _write_reasons(path: Path, reasons: Mapping[str, str]) -> None:
    if reasons:
        atomic.write_text(path, "".join(f"{key}\t{why}\n" for key, why in reasons.items()))


def _write_ark(folder: Path, name: str, embedded: Mapping[str, Embedded]) -> None:
    with ArkWriter(folder / f"{name}.ark", folder / f"{name}.scp") as writer:
        for key, found in embedded.items():
            writer.write(key, found.embedding)


def npy_paths(folder: Path, inputs: Sequence[Utterances]) -> list[dict[str, Path]]:
    """``<name>.npy`` in ``folder`` by key, for each input; only what came from a file or URL has a name.

    Raises:
        DataError: two different files of the same name.
    """
    origins: dict[Path, str] = {}
    paths: list[dict[str, Path]] = []
    for one in inputs:
        named = {key: source.origin for key, source in one.sources.items() if source.is_named}
        paths.append({key: folder / f"{Path(origin).stem}.npy" for key, origin in named.items()})
        for key, path in paths[-1].items():
            if origins.setdefault(path, named[key]) != named[key]:
                why = f"{origins[path]} and {named[key]} would both be {path.name}"
                raise DataError(folder, why, "rename one of them")
    return paths


def write_npy(column: Mapping[str, Embedded | AudioError], paths: Mapping[str, Path]) -> None:
    """Publish the embeddings, float32 [E], at ``paths``."""
    for key, found in usable(column).items():
        if key in paths:
            with atomic.staged(paths[key]) as temporary, temporary.open("wb") as stream:
                np.save(stream, found.embedding)
