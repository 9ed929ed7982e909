"""The report of an experiment as one HTML page that needs nothing beside it: no script, font or picture file.

In: rows, comparisons, condition reports and what the experiment folder holds; out: text.
``atomic.write_text(path, page(Contents("exp/first", rows, ...), settings))``
"""

from __future__ import annotations

import base64
import html
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speakerlab.errors import MissingExtraError
from speakerlab.metrics import training_plot
from speakerlab.metrics.plot_style import svg
from speakerlab.report import figures, result_tables
from speakerlab.report.conditions import ConditionReport
from speakerlab.report.evaluation import Comparison, Row, Settings
from speakerlab.report.experiment import Experiment
from speakerlab.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem 1.25rem 4rem; max-width: 84rem; background: #fff; color: #1c1c1c;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; border-bottom: 2px solid #ddd; padding-bottom: .25rem; }
h4 { font-size: .95rem; font-weight: 600; margin: .25rem 0; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
nav a { display: inline-block; margin-right: 1rem; color: #00599c; }
.wide { overflow-x: auto; background:
  linear-gradient(to left, #fff 40%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to left, #0003, transparent) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { background: #f3f4f6; border-bottom: 2px solid #ccc; }
.wide td:first-child { position: sticky; left: 0; background: #fff; }
th.name, td.name { text-align: left; }
.note { color: #4a4a4a; font-size: .85rem; margin: .35rem 0; }
.figures { display: grid; gap: .75rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
}
figure, .figures > div { margin: 0; min-width: 0; }
figure img { width: 100%; max-width: 38rem; height: auto; }
figcaption { color: #4a4a4a; font-size: .85rem; }
pre { background: #f3f4f6; padding: .75rem; overflow-x: auto; font-size: .8rem; line-height: 1.35;
  columns: 20rem; }
summary { cursor: pointer; color: #00599c; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; font-size: .9rem; }
dt { color: #4a4a4a; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { .figures { grid-template-columns: 1fr 1fr; } }
"""


@dataclass(frozen=True)
class Contents:
    """Everything the page shows; ``experiment`` is None where there is no folder to read."""

    title: str
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    conditions: Sequence[ConditionReport]
    experiment: Experiment | None


def page(contents: Contents, settings: Settings) -> str:
    """The page; without matplotlib it has no pictures and says what to install, and so does the log."""
    sections = {
        "Results": _results(contents, settings),
        "Plots": _plots(contents, settings),
        "Conditions": "".join(map(_titled, result_tables.by_condition(contents.conditions, settings))),
        "Hardest errors": _hardest(contents),
        "Training": _training(contents.experiment),
        "Settings": _settings(contents.experiment),
    }
    shown = {name: body for name, body in sections.items() if body}
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in shown)
    body = "\n".join(
        f'<section id="{_anchor(name)}"><h2>{name}</h2>\n{text}</section>' for name, text in shown.items()
    )
    title = html.escape(contents.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _titled(table: Table) -> str:
    return f"<h3>{html.escape(table.title)}</h3>\n{table.html()}\n"


def _results(contents: Contents, settings: Settings) -> str:
    text = result_tables.results(contents.rows, settings).html()
    if any(row.scored.llr for row in contents.rows):
        text += _titled(result_tables.calibration(contents.rows, settings))
    if contents.comparisons:
        text += _titled(result_tables.comparisons(contents.comparisons, settings))
    return text


def _plots(contents: Contents, settings: Settings) -> str:
    titles = dict.fromkeys(row.scored.title for row in contents.rows)
    try:
        return "\n".join(
            _figures_of(title, [row for row in contents.rows if row.scored.title == title], settings)
            for title in titles
        )
    except MissingExtraError as error:
        logging.warning("no plots in the report: %s", error)
        return f'<p class="note">{html.escape(str(error))}</p>'


def _figures_of(title: str, rows: Sequence[Row], settings: Settings) -> str:
    pictures = [figures.det(rows, settings), *figures.of_list(rows, settings)]
    shown = "\n".join(_figure(picture.figure, picture.caption) for picture in pictures)
    return f'<h3>{html.escape(title)}</h3>\n<div class="figures">\n{shown}\n</div>'


def _figure(figure: Figure, caption: str) -> str:
    data = base64.b64encode(svg(figure)).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _hardest(contents: Contents) -> str:
    text = ""
    for row in contents.rows:
        name = html.escape(f"{row.scored.system}, {row.scored.title}")
        pair = "".join(
            f"<div><h4>{table.title}</h4>{table.html()}</div>" for table in result_tables.hard_trials(row)
        )
        text += f'<h3>{name}</h3>\n<div class="figures">{pair}</div>\n'
    return text


def _training(experiment: Experiment | None) -> str:
    if experiment is None or not experiment.epochs:
        return ""
    numbers = [int(epoch["epoch"]) for epoch in experiment.epochs]
    curves = experiment.curves()
    header = ["epoch", *curves]
    last = [f"{values[-1]:.4g}" if values[-1] is not None else "" for values in curves.values()]
    table = Table("", header, [[str(numbers[-1]), *last]], num_names=1).html()
    try:
        figure = _figure(training_plot.draw(numbers, curves), "Training curves by epoch")
    except MissingExtraError:  # the section on plots says it
        return table
    return f'{table}<div class="figures">{figure}</div>'


def _settings(experiment: Experiment | None) -> str:
    if experiment is None:
        return ""
    items = "".join(
        f"<dt>{html.escape(str(name).replace('_', ' '))}</dt><dd>{html.escape(str(value))}</dd>"
        for name, value in experiment.provenance.items()
    )
    text = f"<dl>{items}</dl>" if items else ""
    if experiment.settings:
        text += (
            f"<details open><summary>resolved configuration</summary>"
            f"<pre>{html.escape(experiment.settings)}</pre></details>"
        )
    return text
