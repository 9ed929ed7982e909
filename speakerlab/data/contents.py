"""A data dir with all its lists in memory: what is checked, cut to some utterances, and written elsewhere.

``Contents.load(Path("data/train")).select(utterances).write(Path("data/small"))`` keeps every list in step.
Files that are no part of a data dir (``text``, ``spk2utt``, notes) stay behind; loading names them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from speakerlab.data import tables
from speakerlab.data.datadir import ARRAYS, DOMAIN, ENROLL_MAP, TABLES, DataDir
from speakerlab.data.faults import Report, stop
from speakerlab.data.lines import LineIndex
from speakerlab.data.trials import read_trials, write_trials
from speakerlab.errors import DataError
from speakerlab.io import archive
from speakerlab.types import RecId, Segment, SpkId, TrialList, Utterance, UttId

_CORE = ("wav.scp", "segments", "utt2spk")
ARCHIVE = re.compile(r"(.+?)((?::(\d+))?(\[.*\])?)")  # of a feats.scp value: path, then offset and range


@dataclass(frozen=True)
class Contents:
    """A data dir read whole.

    Attributes:
        data: recordings and utterances; its ``path`` is where they were read.
        tables: rows of each list of ``datadir.TABLES`` that there is, by file name.
        trials: trial lists by file name.
        domain: what kind of speech it is, where a file ``domain`` tells.
        models: utterance ids of each speaker model that the trial lists may enrol (``enroll.map``).
    """

    data: DataDir
    tables: dict[str, dict[str, str]]
    trials: dict[str, TrialList]
    domain: str | None = None
    models: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, report: Report = stop) -> Contents:
        """Read every list of the data dir ``path``; archive paths that lie beside it become absolute.

        Raises:
            DataError: any fault of the text files; see ``DataDir.load``, ``DataDir.table``, ``read_trials``.
        """
        data = DataDir.load(path, report)
        if not data.utterances:
            return cls(data, {}, {})
        rows = {name: data.table(name, report) for name in TABLES if (path / name).exists()}
        for name in set(ARRAYS) & rows.keys():
            rows[name] = dict(_located(path / name, rows[name], report))
        known, models = set(data.utt_ids), data.models(report)
        lists = {file.name: read_trials(file, known, report, models) for file in data.trial_lists()}
        known_files = {*_CORE, *rows, *lists, "spk2utt", DOMAIN, ENROLL_MAP}
        others = sorted(f.name for f in path.iterdir() if f.is_file() and f.name not in known_files)
        if others:
            logging.info("%s: not part of a data dir: %s", path, " ".join(others))
        return cls(data, rows, lists, data.domain(), models)

    def speakers(self) -> dict[SpkId, list[UttId]]:
        """Utterance ids by speaker, both in bytewise order.

        Raises:
            DataError: there is no ``utt2spk``.
        """
        spk2utt = self.data.spk2utt()
        if not spk2utt:
            raise DataError(self.data.path / "utt2spk", "there is none", "write: utt_id spk_id")
        return spk2utt

    def select(self, utterances: Iterable[Utterance]) -> Contents:
        """Only ``utterances``, which are in order, and what belongs to them.

        Models that lack an utterance go, then trials with another utterance or model, and lists without a
        trial left; the log says how many.
        """
        chosen = tuple(utterances)
        rec_ids = sorted({u.segment.rec_id for u in chosen})
        data = replace(self.data, recordings={r: self.data.recordings[r] for r in rec_ids}, utterances=chosen)
        rows = {}
        for name, table in self.tables.items():
            rows[name] = {key: table[key] for key in data.ids(TABLES[name]) if key in table}
        kept = {name: table for name, table in rows.items() if table}
        known = set(data.utt_ids)
        models = {name: utt_ids for name, utt_ids in self.models.items() if known.issuperset(utt_ids)}
        if len(models) < len(self.models):
            logging.info(
                "%s: %d of %d models dropped", ENROLL_MAP, len(self.models) - len(models), len(self.models)
            )
        return Contents(data, kept, self._trials_of(data, models), self.domain, models)

    def _trials_of(self, data: DataDir, models: Mapping[str, Sequence[str]]) -> dict[str, TrialList]:
        known, lists = set(data.utt_ids), {}
        enrolled = known | models.keys()
        for name, trials in self.trials.items():
            pairs = zip(trials.enroll_ids, trials.test_ids, strict=True)
            keep = np.fromiter(
                (a in enrolled and b in known for a, b in pairs), dtype=bool, count=len(trials)
            )
            if not keep.all():
                logging.info("%s: %d of %d trials dropped", trials.name, np.sum(~keep), len(trials))
            if keep.any():
                enroll_ids, test_ids = (
                    np.array(ids, dtype=object)[keep].tolist() for ids in (trials.enroll_ids, trials.test_ids)
                )
                lists[name] = TrialList(enroll_ids, test_ids, trials.labels[keep], trials.name)
        return lists

    def write(self, path: Path) -> None:
        """Make ``path`` the data dir of these contents; ``wav.scp`` goes first and comes last.

        Lists of another data dir that was there are replaced or removed, other files are left alone.

        Raises:
            DataError: no utterance, ``path`` is where the contents were read, an id that cannot be written.
        """
        if not self.data.utterances:
            raise DataError(path, "no utterance would be left", "keep at least one")
        refuse_same(path, self.data.path)
        path.mkdir(parents=True, exist_ok=True)
        old = (path / name for name in (*_CORE, *TABLES, "spk2utt", DOMAIN, ENROLL_MAP))
        for file in (*old, *DataDir(path, {}, ()).trial_lists()):
            file.unlink(missing_ok=True)
        for name, rows in self.tables.items():
            tables.write_table(path / name, sorted(rows.items()))
        for name, trials in self.trials.items():
            write_trials(path / name, trials)
        if self.models:
            rows_of_models = ((name, " ".join(utt_ids)) for name, utt_ids in self.models.items())
            tables.write_table(path / ENROLL_MAP, rows_of_models)
        if self.domain is not None:
            tables.write_table(path / DOMAIN, [(self.domain,)])
        utterances, recordings = self.data.utterances, self.data.recordings.values()
        if utterances[0].spk_id is not None:
            tables.write_table(path / "utt2spk", ((u.utt_id, str(u.spk_id)) for u in utterances))
        cut = any(u.segment != Segment(u.utt_id, RecId(u.utt_id)) for u in utterances)
        if cut or len(utterances) != len(recordings):
            tables.write_table(path / "segments", (_segment_row(u.segment) for u in utterances))
        tables.write_table(path / "wav.scp", ((r.rec_id, r.written) for r in recordings))


def refuse_same(out: Path, *others: Path) -> None:
    """Keep a command from writing over its input, or one output over another.

    Raises:
        DataError: ``out`` is one of ``others``.
    """
    for other in others:
        if out.resolve() == other.resolve():
            raise DataError(out, "is given twice, once as output", "give another folder for the output")


def _segment_row(segment: Segment) -> tuple[str, ...]:
    end = "-1" if segment.end_s is None else repr(segment.end_s)
    row = segment.utt_id, segment.rec_id, repr(segment.start_s), end
    return row if segment.channel is None else (*row, str(segment.channel))


def _located(path: Path, rows: dict[str, str], report: Report) -> Iterator[tuple[str, str]]:
    """``rows`` with the archives found where ``io.ark.FeatureTable`` finds them, by absolute path.

    Raises:
        DataError: (or reported) different files answer to a relative path.
    """
    found: dict[str, str] = {}
    for key, value in rows.items():
        match = ARCHIVE.fullmatch(value)
        written, rest = match.group(1, 2) if match else (value, "")
        if written not in found:
            found[written] = written
            if not written.endswith("|"):
                try:
                    there = archive.locate(path.parent, written)
                    found[written] = str(there.absolute()) if there.is_file() else written
                except ValueError as error:
                    report(DataError(path, f"'{key}': {error}", "keep one of the two", LineIndex(path)[key]))
        yield key, found[written] + rest
