"""Data dirs put together: ids that mean two things are an error, never merged.

``combine([Contents.load(a), with_prefix(Contents.load(b), "b-")]).write(out)``. Lists with a line for each
utterance or recording are kept if all the data dirs have them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from speakerlab.data.contents import Contents
from speakerlab.data.datadir import ENROLL_MAP, TABLES, DataDir
from speakerlab.errors import DataError
from speakerlab.types import RecId, SpkId, TrialList, Utterance, UttId

K = TypeVar("K", bound=str)
V = TypeVar("V")
_FIX = "rename one, or use --prefix"


def with_prefix(contents: Contents, prefix: str) -> Contents:
    """``contents`` with ``prefix`` before every utterance, recording and speaker id."""

    def longer(ids: Iterable[str]) -> list[str]:
        return [prefix + i for i in ids]

    def renamed(utterance: Utterance) -> Utterance:
        segment = utterance.segment
        spk_id = None if utterance.spk_id is None else SpkId(prefix + utterance.spk_id)
        utt_id, rec_id = UttId(prefix + segment.utt_id), RecId(prefix + segment.rec_id)
        return Utterance(replace(segment, utt_id=utt_id, rec_id=rec_id), spk_id)

    data = contents.data
    recordings = {RecId(prefix + i): replace(r, rec_id=RecId(prefix + i)) for i, r in data.recordings.items()}
    trials = {
        name: TrialList(longer(t.enroll_ids), longer(t.test_ids), t.labels, t.name)
        for name, t in contents.trials.items()
    }
    rows = {name: {prefix + i: value for i, value in t.items()} for name, t in contents.tables.items()}
    longer_data = DataDir(data.path, recordings, tuple(map(renamed, data.utterances)))
    models = {prefix + name: tuple(longer(utt_ids)) for name, utt_ids in contents.models.items()}
    return Contents(longer_data, rows, trials, contents.domain, models)


def combine(parts: Sequence[Contents]) -> Contents:
    """All of ``parts`` as one; a speaker id in several of them is one speaker, and the log says so.

    Raises:
        DataError: an utterance id in two parts; a recording, gender or duration that differs between two;
            speakers known in some parts only.
    """
    recordings = _merged("wav.scp", [(part, part.data.recordings) for part in parts])
    utterances = sorted(_distinct(parts), key=lambda utterance: utterance.utt_id)
    _check_speakers(parts)
    data = DataDir(parts[0].data.path, dict(sorted(recordings.items())), tuple(utterances))
    rows = {
        name: _merged(name, [(part, part.tables.get(name, {})) for part in parts])
        for name in TABLES
        if _is_kept(name, parts)
    }
    names = sorted({name for part in parts for name in part.trials})
    models = _merged(ENROLL_MAP, [(part, part.models) for part in parts])
    return Contents(data, rows, {name: _joined(name, parts) for name in names}, _domain(parts), models)


def _domain(parts: Sequence[Contents]) -> str | None:
    """The domain that all of ``parts`` have; None where they differ."""
    domains = {part.domain for part in parts}
    if len(domains) > 1:
        logging.warning("domain left out: it is %s", " or ".join(sorted(map(str, domains))))
    return domains.pop() if len(domains) == 1 else None


def _merged(name: str, tables: Sequence[tuple[Contents, Mapping[K, V]]]) -> dict[K, V]:
    merged: dict[K, V] = {}
    for part, table in tables:
        for key, value in table.items():
            if merged.setdefault(key, value) != value:
                raise DataError(part.data.path / name, f"'{key}' differs in a data dir before this one", _FIX)
    return merged


def _distinct(parts: Sequence[Contents]) -> list[Utterance]:
    """All utterances, each id once."""
    owners: dict[UttId, Path] = {}
    for part in parts:
        for utt_id in part.data.utt_ids:
            if utt_id in owners:
                raise DataError(part.data.path, f"utterance '{utt_id}' is in {owners[utt_id]} as well", _FIX)
            owners[utt_id] = part.data.path
    return [utterance for part in parts for utterance in part.data.utterances]


def _check_speakers(parts: Sequence[Contents]) -> None:
    speakers = [set(part.data.spk2utt()) for part in parts]
    without = [part.data.path for part, names in zip(parts, speakers, strict=True) if not names]
    if without and any(speakers):
        raise DataError(without[0] / "utt2spk", "there is none, while other data dirs have it", "write it")
    shared = sum(map(len, speakers)) - len(set().union(*speakers))
    if shared:
        logging.warning("%d speaker ids are in several data dirs; if not the same people: --prefix", shared)


def _is_kept(name: str, parts: Sequence[Contents]) -> bool:
    having = [part for part in parts if name in part.tables]
    if having and len(having) < len(parts) and TABLES[name] != "speaker":
        logging.warning("%s left out: only %d of %d data dirs have it", name, len(having), len(parts))
        return False
    return bool(having)


def _joined(name: str, parts: Sequence[Contents]) -> TrialList:
    lists = [part.trials[name] for part in parts if name in part.trials]
    enroll_ids = [i for trials in lists for i in trials.enroll_ids]
    test_ids = [i for trials in lists for i in trials.test_ids]
    return TrialList(enroll_ids, test_ids, np.concatenate([trials.labels for trials in lists]), name)
