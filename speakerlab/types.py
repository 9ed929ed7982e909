"""The nouns of the toolkit: ids, recordings, utterances, waveforms, tables of embeddings and trials.

Frozen, numpy only; see DESIGN "Data flow in types". Every module above speaks in these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NewType

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError

SYNTHETIC = "synthetic speech"  # domain of data and models that hold no voice of a person

UttId = NewType("UttId", str)
RecId = NewType("RecId", str)
SpkId = NewType("SpkId", str)
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recording:
    """One line of ``wav.scp``: where the audio of ``rec_id`` comes from.

    Attributes:
        rec_id: recording id.
        source: a path, or a shell command ending in ``|`` whose stdout is an audio file.
        channel: 0-based channel to take; ``None`` demands a mono file.
        is_pipe: whether ``source`` is a command to run. Only the reader of lists sets it: a file name that
            ends in ``|`` runs nothing.
        offset: where in the archive ``source`` the audio file begins; set by the reader of lists alone.
    """

    rec_id: RecId
    source: str
    channel: int | None = None
    is_pipe: bool = False
    offset: int | None = None

    @property
    def written(self) -> str:
        """The entry of a ``wav.scp``: path, ``path:offset`` or command."""
        return self.source if self.offset is None else f"{self.source}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording, in seconds; ``end_s`` None means to the end.

    ``channel``, from 0, is that of the recording where it is given; None leaves it to the ``Recording``.
    """

    utt_id: UttId
    rec_id: RecId
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A segment and, where known, who speaks in it."""

    segment: Segment
    spk_id: SpkId | None = None

    @property
    def utt_id(self) -> UttId:
        """The utterance id."""
        return self.segment.utt_id


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono audio: ``samples`` float32 [S] in [-1, 1] at ``sample_rate`` Hz."""

    samples: Float32Array
    sample_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True, slots=True)
class Trial:
    """One comparison; ``is_target`` None where the key is not known."""

    enroll_id: str
    test_id: str
    is_target: bool | None = None


@dataclass(frozen=True)
class TrialList:
    """Trials by column: millions of them fit in memory, and scoring is a matrix product.

    Attributes:
        enroll_ids: N ids of enrolment utterances or models.
        test_ids: N ids of test utterances.
        labels: int8 [N]: 1 target, 0 non-target, -1 unknown.
        name: where the list came from, for messages.
    """

    enroll_ids: Sequence[str]
    test_ids: Sequence[str]
    labels: npt.NDArray[np.int8]
    name: str = "trials"

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.labels)

    def __iter__(self) -> Iterator[Trial]:
        """Trials one by one, in list order."""
        for enroll_id, test_id, label in zip(self.enroll_ids, self.test_ids, self.labels, strict=True):
            yield Trial(enroll_id, test_id, None if label < 0 else bool(label))

    def without(self, ids: Collection[str]) -> TrialList:
        """The trials in which none of ``ids`` occurs."""
        if not ids:
            return self
        pairs = enumerate(zip(self.enroll_ids, self.test_ids, strict=True))
        kept = [place for place, pair in pairs if pair[0] not in ids and pair[1] not in ids]
        enroll_ids, test_ids = ([side[place] for place in kept] for side in (self.enroll_ids, self.test_ids))
        return TrialList(enroll_ids, test_ids, self.labels[kept], self.name)


@dataclass(frozen=True)
class ScoreTable:
    """Trials with their scores, float64 [N]; higher means more likely the same speaker."""

    trials: TrialList
    scores: Float64Array


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings by id: unique ids, finite float32 matrix [N, D].

    Raises:
        DataError: duplicate ids, a non-finite row, or lengths that differ; ``name`` says of what.
    """

    ids: tuple[str, ...]
    matrix: Float32Array
    name: str = "embeddings"
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or len(self.ids) != len(self.matrix):
            raise DataError(self.name, f"{len(self.ids)} ids for an array {self.matrix.shape}")
        rows = {utt_id: row for row, utt_id in enumerate(self.ids)}
        if len(rows) != len(self.ids):
            twice = next(i for row, i in enumerate(self.ids) if rows[i] != row)
            raise DataError(self.name, f"{twice} appears twice")
        bad = np.flatnonzero(~np.isfinite(self.matrix).all(axis=1))
        if len(bad):
            raise DataError(self.name, f"{self.ids[bad[0]]} has NaN or Inf ({len(bad)} such rows)")
        object.__setattr__(self, "_rows", rows)

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row numbers of ``ids``, int64 [len(ids)].

        Raises:
            DataError: an id has no embedding; the message counts how many.
        """
        found = [self._rows.get(i, -1) for i in ids]
        rows = np.asarray(found, dtype=np.int64)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            raise DataError(
                self.name,
                f"no embedding for {ids[missing[0]]} ({len({ids[int(i)] for i in missing})} such ids)",
                "extract embeddings for every id in the trials",
            )
        return rows
