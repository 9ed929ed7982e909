"""The tables of an evaluation: results, calibration, comparisons, conditions, hardest trials.

In: rows, comparisons and condition reports; out: ``Table``. ``results(rows, settings).text()``
"""

from __future__ import annotations

from collections.abc import Sequence

from speakerlab.metrics.bootstrap import Difference, Interval
from speakerlab.metrics.operating_points import points_of
from speakerlab.report.conditions import MIN_TRIALS, Cell, ConditionReport
from speakerlab.report.evaluation import Comparison, HardTrial, Row, Settings, hardest
from speakerlab.report.tables import Table, figure

NO_INTERVALS = "No intervals: give --utt2spk or --spk-from-id."


def results(rows: Sequence[Row], settings: Settings) -> Table:
    """EER and minDCF of every system on every list; the mean over the points of plans that have several."""
    points = points_of(settings.presets)
    primaries = _primaries(settings)
    costs = [f"minDCF({point})" for point in points.values()]
    header = ["system", "list", "trials", "targets", "EER %", *costs]
    header += [f"minC_primary({name})" for name in primaries] + ["threshold"]
    cells = []
    for row in rows:
        metrics, intervals = row.metrics, row.intervals
        num_trials = metrics.num_targets + metrics.num_nontargets
        line = [row.scored.system, row.scored.title, str(num_trials), str(metrics.num_targets)]
        line.append(_percent(metrics.eer, intervals.eer if intervals else None))
        for name in points:
            line.append(_cost(metrics.min_dcf[name], intervals.min_dcf[name] if intervals else None))
        for name in primaries:
            interval = intervals.min_c_primary[name] if intervals else None
            line.append(_cost(metrics.min_c_primary[name], interval))
        cells.append([*line, f"{metrics.eer_threshold:.4f}"])
    note = NO_INTERVALS
    if any(row.intervals for row in rows):
        note = f"[low, high]: 95 % interval from {settings.num_draws} bootstrap draws of the speakers."
    return Table("Results", header, cells, notes=[note])


def calibration(rows: Sequence[Row], settings: Settings) -> Table:
    """Cllr and the cost of deciding at the Bayes threshold, of systems whose scores are LLRs."""
    points, primaries = points_of(settings.presets), _primaries(settings)
    header = ["system", "list", "Cllr", "minCllr"]
    for point in points.values():
        header += [f"actDCF({point})", f"minDCF({point})"]
    header += [f"actC_primary({name})" for name in primaries]
    cells = []
    for row in rows:
        metrics, intervals = row.metrics, row.intervals
        if metrics.cllr is None:
            continue
        line = [row.scored.system, row.scored.title]
        line.append(_cost(metrics.cllr, intervals.cllr if intervals else None))
        line.append(_cost(metrics.min_cllr, intervals.min_cllr if intervals else None))
        for name in points:
            line.append(_cost(metrics.act_dcf[name], intervals.act_dcf[name] if intervals else None))
            line.append(_cost(metrics.min_dcf[name], None))
        for name in primaries:
            interval = intervals.act_c_primary[name] if intervals else None
            line.append(_cost(metrics.act_c_primary[name], interval))
        cells.append(line)
    note = "Scores taken for natural log-likelihood ratios; what exceeds the minimum is lost by calibration."
    return Table("Calibration", header, cells, notes=[note])


def comparisons(found: Sequence[Comparison], settings: Settings) -> Table:
    """Differences of systems on the same trials, with p-values."""
    points = points_of(settings.presets)
    header = ["system A", "system B", "list", "EER A - B, %", "p"]
    for point in points.values():
        header += [f"minDCF({point}) A - B", "p"]
    cells = []
    for each in found:
        a, b = each.a.metrics, each.b.metrics
        line = [each.a.scored.system, each.b.scored.system, each.a.scored.title]
        line += _difference(a.eer - b.eer, each.differences.eer, scale=100, digits=2)
        for name in points:
            value = a.min_dcf[name] - b.min_dcf[name]
            line += _difference(value, each.differences.min_dcf[name], scale=1, digits=3)
        cells.append(line)
    note = "95 % interval and two-sided p-value of the difference, with the same draws of speakers for both; "
    note += "p is not corrected for several comparisons."
    return Table("Comparison of systems", header, cells, num_names=3, notes=[note])


def by_condition(reports: Sequence[ConditionReport], settings: Settings) -> list[Table]:
    """One table per list and condition: results in each cell, with counts, and their equalised average."""
    groups: dict[tuple[str, str, str], list[ConditionReport]] = {}
    for report in reports:
        groups.setdefault((report.title, report.condition, report.sides), []).append(report)
    points = points_of(settings.presets)
    costs = [f"minDCF({point})" for point in points.values()]
    tables = []
    for (title, name, sides), group in groups.items():
        header = ["system", sides, "targets", "non-targets", "speakers", "EER %", *costs]
        rows = [row for report in group for row in _condition_rows(report, list(points))]
        tables.append(Table(f"{title} by {name}", header, rows, notes=_condition_notes(group)))
    return tables


def hard_trials(row: Row) -> list[Table]:
    """The targets with the lowest scores and the non-targets with the highest."""
    found = hardest(row.scored.table)
    header = ["enrolment", "test", "score"]
    kinds = (("lowest targets", found.targets), ("highest non-targets", found.nontargets))
    return [Table(kind, header, [_hard(trial) for trial in trials]) for kind, trials in kinds]


def _primaries(settings: Settings) -> list[str]:
    return [name for name, preset in settings.presets.items() if len(preset) > 1]


def _percent(value: float, interval: Interval | None) -> str:
    return figure(value, (interval.low, interval.high) if interval else None, digits=2, scale=100)


def _cost(value: float, interval: Interval | None) -> str:
    return figure(value, (interval.low, interval.high) if interval else None, digits=3)


def _difference(value: float, found: Difference, *, scale: float, digits: int) -> list[str]:
    return [figure(value, (found.low, found.high), digits=digits, scale=scale), f"{found.p_value:.3f}"]


def _condition_rows(report: ConditionReport, points: Sequence[str]) -> list[list[str]]:
    rows = [[report.system, *_cell(cell, points)] for cell in report.cells]
    average = report.equalised
    if average:
        costs = [f"{average.min_dcf[name]:.3f}" for name in points]
        counts = ["", "", ""]
        name = f"equalised over {sum(cell.metrics is not None for cell in report.cells)}"
        rows.append([report.system, name, *counts, f"{100 * average.eer:.2f}", *costs])
    return rows


def _cell(cell: Cell, points: Sequence[str]) -> list[str]:
    metrics, intervals = cell.metrics, cell.intervals
    line = [" / ".join(cell.values), str(cell.num_targets), str(cell.num_nontargets)]
    if metrics is None:
        return [*line, "", "-", *("-" for _ in points)]
    line.append(str(intervals.num_speakers) if intervals else "")
    eer = _percent(metrics.eer, intervals.eer if intervals else None)
    line.append(f"* {eer}" if cell.has_few_errors else eer)
    costs = (_cost(metrics.min_dcf[name], intervals.min_dcf[name] if intervals else None) for name in points)
    return [*line, *costs]


def _condition_notes(reports: Sequence[ConditionReport]) -> list[str]:
    cells = [cell for report in reports for cell in report.cells]
    notes = []
    if any(cell.metrics is None for cell in cells):
        notes.append(f"-: fewer than {MIN_TRIALS} targets or non-targets, too few for a rate.")
    if any(cell.has_few_errors for cell in cells):
        notes.append("*: fewer than 30 errors of a kind at the EER, an uncertain rate (rule of 30).")
    if any(report.equalised for report in reports):
        notes.append("equalised: error rates averaged over the cells that have one, at a common threshold.")
    return notes


def _hard(trial: HardTrial) -> list[str]:
    return [trial.enroll_id, trial.test_id, f"{trial.score:.4f}"]
