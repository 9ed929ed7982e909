"""Error rates by condition: gender, duration, channel, any list of ``id value`` lines, columns of a NIST key.

In: ``utt2gender``, ``utt2dur:3,6,10`` or ``key.tsv:gender,num_enroll_segs`` and a scored list; out: one
``Cell`` for each pair of values, and the equalised average.
``report(parse("utt2dur:3,6,10"), scored, settings)``
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerlab.data.tables import read_two_columns
from speakerlab.errors import DataError
from speakerlab.io.foreign_scores import read_key_columns
from speakerlab.metrics.bootstrap import BootstrapIntervals
from speakerlab.metrics.detection import DetectionMetrics, detection
from speakerlab.metrics.equalised import EqualisedMetrics, equalised_detection
from speakerlab.metrics.error_curve import Int64Array
from speakerlab.report.evaluation import Scored, Settings, intervals_of
from speakerlab.types import ScoreTable, TrialList

MIN_TRIALS = 30  # of either kind: below, a rate is not worth a figure
MAX_VALUES = 20  # more make no table; numbers want edges


@dataclass(frozen=True)
class Condition:
    """What to divide a list by.

    Attributes:
        file: values by id, or a NIST key.
        edges: for numbers, where one bin ends and the next begins.
        columns: of a NIST key, whose values together divide the trials.
    """

    file: Path
    edges: tuple[float, ...] = ()
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.file.name


@dataclass(frozen=True)
class Cell:
    """Trials whose two sides have these values.

    Attributes:
        values: one value, or two that differ, whichever side has which; of a NIST key, one for each column.
        num_targets: target trials.
        num_nontargets: non-target trials.
        metrics: None where there are fewer than ``MIN_TRIALS`` of either kind.
        intervals: None likewise, or where the speakers are not known.
    """

    values: tuple[str, ...]
    num_targets: int
    num_nontargets: int
    metrics: DetectionMetrics | None
    intervals: BootstrapIntervals | None

    @property
    def has_few_errors(self) -> bool:
        """Fewer than 30 errors of a kind at the EER: Doddington's rule of 30 calls such a rate uncertain.

        Doddington et al., "The NIST speaker recognition evaluation: overview, methodology, systems, results,
        perspective", 2000, section 3.
        """
        return self.metrics is not None and self.metrics.eer * min(self.num_targets, self.num_nontargets) < 30


@dataclass(frozen=True)
class ConditionReport:
    """One system on one list by one condition.

    Attributes:
        condition: its name.
        system: name of the system.
        title: name of the list.
        sides: whose values these are: ``enrolment and test``, ``test`` where the enrolment ids are models of
            their own, or columns of a key.
        cells: in order of the values.
        equalised: average over the cells that have metrics, each with equal weight; None if fewer than two.
    """

    condition: str
    system: str
    title: str
    sides: str
    cells: list[Cell]
    equalised: EqualisedMetrics | None


def parse(text: str) -> Condition:
    """``FILE``, ``FILE:EDGE,EDGE,...`` with rising edges, or ``KEY.tsv:COLUMN,COLUMN,...``.

    Raises:
        ValueError: edges that are no rising numbers, a key without columns.
    """
    name, colon, rest = text.rpartition(":")
    if text.endswith(".tsv"):
        raise ValueError("name the columns of the key")
    if name.endswith(".tsv"):
        return Condition(Path(name), columns=tuple(rest.split(",")))
    if not colon:
        return Condition(Path(text))
    edges = tuple(float(edge) for edge in rest.split(","))
    if not (np.diff(edges) > 0).all() or not np.isfinite(edges).all():
        raise ValueError(f"the edges {rest} do not rise")
    return Condition(Path(name), edges)


def report(condition: Condition, scored: Scored, settings: Settings) -> ConditionReport:
    """Metrics of ``scored`` for each pair of values of ``condition``.

    A file name without a folder is looked up beside the trial list. ``spk2gender`` and other files whose name
    starts with ``spk2`` hold speakers; all others hold ids of the trials, a NIST key the trials themselves.

    Raises:
        DataError: an id or a trial without value, a value that is no number, too many values.
    """
    sides, rows = (_by_columns if condition.columns else _by_ids)(condition, scored)
    cells = [_cell(values, _part(scored.table, of), scored, settings) for values, of in rows.items()]
    measured = [rows[cell.values] for cell in cells if cell.metrics]
    average = _equalised(scored, measured, settings) if len(measured) > 1 else None
    return ConditionReport(str(condition), scored.system, scored.title, sides, cells, average)


def _by_ids(condition: Condition, scored: Scored) -> tuple[str, dict[tuple[str, ...], Int64Array]]:
    """Whose values divide the trials, and the rows of the trials of each pair of values."""
    values, order = _values(condition, scored)
    codes = {value: place for place, value in enumerate(order)}
    trials = scored.table.trials
    path = _path(condition, scored)
    test = _codes(path, trials, trials.test_ids, values, codes)
    by_model = not any(i in values for i in trials.enroll_ids)
    enroll = test if by_model else _codes(path, trials, trials.enroll_ids, values, codes)
    low, high = np.minimum(enroll, test), np.maximum(enroll, test)
    rows = {
        tuple(dict.fromkeys((order[a], order[b]))): np.flatnonzero((low == a) & (high == b))
        for a, b in itertools.combinations_with_replacement(range(len(order)), 2)
    }
    sides = "test" if by_model else "enrolment and test"
    return sides, {pair: of for pair, of in rows.items() if len(of)}


def _by_columns(condition: Condition, scored: Scored) -> tuple[str, dict[tuple[str, ...], Int64Array]]:
    """Names of the columns, and the rows of the trials of each combination of their values."""
    path, trials = _path(condition, scored), scored.table.trials
    values = read_key_columns(path, condition.columns)
    found: dict[tuple[str, ...], list[int]] = {}
    for row, pair in enumerate(zip(trials.enroll_ids, trials.test_ids, strict=True)):
        if pair not in values:
            raise DataError(
                path, f"no line for the trial '{' '.join(pair)}' of {trials.name}", "give its key"
            )
        found.setdefault(values[pair], []).append(row)
    if len(found) > MAX_VALUES:
        raise DataError(
            path, f"{len(found)} different values of {', '.join(condition.columns)}", "name fewer"
        )
    return " / ".join(condition.columns), {key: np.array(found[key]) for key in sorted(found)}


def _equalised(scored: Scored, rows: Sequence[Int64Array], settings: Settings) -> EqualisedMetrics:
    """Cells without a rate are left out: one target more or less must not move a share of the average."""
    names = np.repeat([str(number) for number in range(len(rows))], [len(of) for of in rows])
    table = _part(scored.table, np.concatenate(rows))
    return equalised_detection(table, names.tolist(), settings.presets, llr=scored.llr)


def _path(condition: Condition, scored: Scored) -> Path:
    beside = len(condition.file.parts) == 1
    return scored.trials.with_name(condition.file.name) if beside else condition.file


def _values(condition: Condition, scored: Scored) -> tuple[dict[str, str], list[str]]:
    """Value of each id, and the values in order."""
    path = _path(condition, scored)
    found = read_two_columns(path)
    if path.name.startswith("spk2"):
        if not scored.utt2spk:
            raise DataError(path, "whose speaker each id is is not known", "give --utt2spk")
        unknown = sorted(set(scored.utt2spk.values()) - found.keys())
        if unknown:
            raise DataError(path, f"no line for speaker '{unknown[0]}' ({len(unknown)} such speakers)")
        found = {i: found[spk_id] for i, spk_id in scored.utt2spk.items()}
    if condition.edges:
        return _binned(path, found, condition.edges)
    trials = scored.table.trials
    used = sorted({found[i] for i in {*trials.enroll_ids, *trials.test_ids} if i in found})
    if len(used) > MAX_VALUES:
        raise DataError(path, f"{len(used)} different values", f"numbers want edges: {path.name}:3,6,10")
    return found, used


def _binned(
    path: Path, found: Mapping[str, str], edges: tuple[float, ...]
) -> tuple[dict[str, str], list[str]]:
    """Bins ``<3``, ``3-6``, ``>=6``: an edge belongs to the bin above it."""
    texts = [f"{edge:g}" for edge in edges]
    inner = (f"{low}-{high}" for low, high in itertools.pairwise(texts))
    names = [f"<{texts[0]}", *inner, f">={texts[-1]}"]
    values: dict[str, str] = {}
    for key, text in found.items():
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise DataError(path, f"'{text}' of '{key}' is not a number", "give no edges")
        values[key] = names[int(np.searchsorted(edges, number, side="right"))]
    return values, names


def _codes(
    path: Path, trials: TrialList, ids: Sequence[str], values: Mapping[str, str], codes: Mapping[str, int]
) -> Int64Array:
    """Place of the value of each id, int64 [N]."""
    unknown = sorted(set(ids) - values.keys())
    if unknown:
        why = f"no line for '{unknown[0]}' of {trials.name} ({len(unknown)} such ids)"
        raise DataError(path, why, "give every id of the list a value")
    return np.fromiter((codes[values[i]] for i in ids), np.int64, len(ids))


def _part(table: ScoreTable, rows: Int64Array) -> ScoreTable:
    trials = table.trials
    enroll_ids, test_ids = (
        [ids[row] for row in rows.tolist()] for ids in (trials.enroll_ids, trials.test_ids)
    )
    part = TrialList(enroll_ids, test_ids, trials.labels[rows], trials.name)
    return ScoreTable(part, table.scores[rows])


def _cell(values: tuple[str, ...], table: ScoreTable, scored: Scored, settings: Settings) -> Cell:
    num_targets = int((table.trials.labels == 1).sum())
    num_nontargets = len(table.trials) - num_targets
    if min(num_targets, num_nontargets) < MIN_TRIALS:
        return Cell(values, num_targets, num_nontargets, None, None)
    metrics = detection(table, settings.presets, llr=scored.llr)
    try:
        intervals = intervals_of(table, scored.utt2spk, settings, llr=scored.llr)
    except DataError:  # no draw holds both kinds: the few speakers of this cell do not make an interval
        intervals = None
    return Cell(values, num_targets, num_nontargets, metrics, intervals)
