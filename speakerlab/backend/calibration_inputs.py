"""What a calibration is trained on and applied to: scores of one or more systems, and quality measures.

``Inputs.of({"campplus": table}, {"min-log:utt2dur": quality.measure(...)})``: a matrix with a named column
for each. Calibrations refuse inputs of other names than those they were trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.types import Float64Array, ScoreTable, TrialList


@dataclass(frozen=True, eq=False)
class Inputs:
    """Scores and quality measures of N trials.

    Attributes:
        trials: the trials.
        systems: names of the S systems, in the order of their columns.
        measures: names of the Q quality measures, whose columns follow.
        matrix: float64 [N, S + Q], finite.
    """

    trials: TrialList
    systems: tuple[str, ...]
    measures: tuple[str, ...]
    matrix: Float64Array

    @classmethod
    def of(
        cls, systems: Mapping[str, ScoreTable], measures: Mapping[str, npt.ArrayLike] | None = None
    ) -> Inputs:
        """Columns side by side.

        Args:
            systems: name -> scores, all of the same trials in the same order.
            measures: name -> value of each trial, [N].

        Raises:
            DataError: no trials, no system, a name twice, other trials, a value that is NaN or infinite.
        """
        measures = measures or {}
        if not systems:
            raise DataError("calibration", "no system to calibrate", "give the scores of one at least")
        trials = next(iter(systems.values())).trials
        if not len(trials):
            raise DataError(trials.name, "holds no trial")
        shared = systems.keys() & measures.keys()
        if shared:
            raise DataError(trials.name, f"'{min(shared)}' is the name of a system and of a quality measure")
        for name, table in systems.items():
            _check_same(trials, table.trials, name)
        columns = {name: table.scores for name, table in systems.items()}
        columns |= {name: np.asarray(values, dtype=np.float64) for name, values in measures.items()}
        for name, column in columns.items():
            _check_column(trials, name, column)
        return cls(trials, tuple(systems), tuple(measures), np.column_stack(list(columns.values())))

    def arranged(self, systems: Sequence[str], measures: Sequence[str], path: str) -> Float64Array:
        """The matrix with columns in the order of ``systems`` and ``measures``, [N, S + Q].

        Raises:
            DataError: the inputs have other names; ``path`` is the calibration that asks.
        """
        for kind, here, wanted in (
            ("systems", self.systems, systems),
            ("quality measures", self.measures, measures),
        ):
            if sorted(here) != sorted(wanted):
                why = f"was trained on the {kind} {_listed(wanted)}, not {_listed(here)}"
                raise DataError(path, why, "give the same, under the same names")
        names = (*self.systems, *self.measures)
        return self.matrix[:, [names.index(name) for name in (*systems, *measures)]]

    def is_target(self) -> npt.NDArray[np.bool_]:
        """Which trials are of one speaker, bool [N].

        Raises:
            DataError: a trial without label, no target or no non-target trial.
        """
        labels = self.trials.labels
        unknown = np.flatnonzero(labels < 0)
        if len(unknown):
            pair = f"{self.trials.enroll_ids[unknown[0]]} {self.trials.test_ids[unknown[0]]}"
            why = f"trial '{pair}' has no label ({len(unknown)} such trials)"
            raise DataError(self.trials.name, why, "a calibration is trained on labelled trials")
        for label, kind in ((1, "target"), (0, "nontarget")):
            if not (labels == label).any():
                fix = "a calibration needs trials of both kinds"
                raise DataError(self.trials.name, f"no {kind} trial among {len(labels)}", fix)
        return np.asarray(labels == 1)


def _check_same(trials: TrialList, other: TrialList, name: str) -> None:
    if other is trials:
        return
    same = tuple(other.enroll_ids) == tuple(trials.enroll_ids)
    if not (same and tuple(other.test_ids) == tuple(trials.test_ids)):
        why = f"the scores of '{name}' are of other trials, or of the same in another order"
        raise DataError(trials.name, why, "score one list with all systems")


def _check_column(trials: TrialList, name: str, column: Float64Array) -> None:
    if column.shape != (len(trials),):
        raise DataError(trials.name, f"{len(trials)} trials but '{name}' has shape {column.shape}")
    bad = np.flatnonzero(~np.isfinite(column))
    if len(bad):
        pair = f"{trials.enroll_ids[bad[0]]} {trials.test_ids[bad[0]]}"
        why = f"'{name}' is {column[bad[0]]} for trial '{pair}' ({len(bad)} such trials)"
        raise DataError(trials.name, why, "only finite values can be calibrated")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "(none)"
