"""An evaluation as JSON: every figure of the tables, and those that the tables leave out.

``text = dumps(rows, comparisons, conditions, settings)``
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from speakerlab.metrics.operating_points import points_of
from speakerlab.report.conditions import ConditionReport
from speakerlab.report.evaluation import BOOTSTRAP_SEED, Comparison, Row, Settings, hardest


def dumps(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    conditions: Sequence[ConditionReport],
    settings: Settings,
) -> str:
    """One object with ``rows``, ``comparisons``, ``conditions`` and what they were computed with."""
    points = points_of(settings.presets)
    content = {
        "presets": {name: list(map(str, preset)) for name, preset in settings.presets.items()},
        "operating_points": {name: dataclasses.asdict(point) for name, point in points.items()},
        "bootstrap": {"num_draws": settings.num_draws, "seed": BOOTSTRAP_SEED, "interval": 0.95},
        "rows": [_row(row) for row in rows],
        "comparisons": [
            {
                "trials": str(each.a.scored.trials),
                "system_a": each.a.scored.system,
                "system_b": each.b.scored.system,
                "differences": dataclasses.asdict(each.differences),
            }
            for each in comparisons
        ],
        "conditions": [dataclasses.asdict(report) for report in conditions],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _row(row: Row) -> dict[str, Any]:
    return {
        "system": row.scored.system,
        "trials": str(row.scored.trials),
        "scores": str(row.scored.scores),
        "llr": row.scored.llr,
        **dataclasses.asdict(row.metrics),
        "intervals": dataclasses.asdict(row.intervals) if row.intervals else None,
        "hardest": dataclasses.asdict(hardest(row.scored.table)),
    }
