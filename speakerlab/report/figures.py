"""The pictures of an evaluation: DET plot, histograms, Bayes error, reliability.

``svg(det(rows, settings).figure)``; ``of_list(rows, settings)``. Nothing here imports matplotlib before a
figure is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speakerlab.metrics import calibration_plot, det_plot, score_plot
from speakerlab.metrics.error_curve import error_curve
from speakerlab.metrics.log_likelihood_ratio import bayes_error_curve
from speakerlab.metrics.operating_points import points_of
from speakerlab.metrics.sorted_scores import sorted_scores
from speakerlab.report.evaluation import Row, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MAX_BANDS = 4  # shades of more systems cover each other
BAYES_ERROR = "Bayes error by prior (APE), above it the same over that of a system that ignores the speech"
RELIABILITY = (
    "Reliability of the log-likelihood ratios; bars are 95 % intervals, as if trials were independent"
)


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its file and a caption."""

    name: str
    caption: str
    figure: Figure


def det(rows: Sequence[Row], settings: Settings) -> Picture:
    """DET plot with a panel for each trial list of ``rows``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    titles = list(dict.fromkeys(row.scored.title for row in rows))
    of_title = {title: [row for row in rows if row.scored.title == title] for title in titles}
    curves = {
        title: {row.scored.system: error_curve(row.scored.table) for row in of}
        for title, of in of_title.items()
    }
    bands = {
        title: {row.scored.system: row.band for row in of if row.band and len(of) <= MAX_BANDS}
        for title, of in of_title.items()
    }
    caption = "Detection error trade-off"
    if any(bands.values()):
        caption += ", with the 95 % interval of the miss rate over the speakers"
    figure = det_plot.draw(curves, points_of(settings.presets), bands)
    return Picture("det", caption, figure)


def of_list(rows: Sequence[Row], settings: Settings) -> list[Picture]:
    """Histograms, Bayes error and, of log-likelihood ratios, reliability, for the systems on one trial list.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    scores = {row.scored.system: sorted_scores(row.scored.table) for row in rows}
    llr = {row.scored.system: row.scored.llr for row in rows}
    bayes = {name: bayes_error_curve(known) for name, known in scores.items()}
    error_plot = calibration_plot.draw_bayes_error(bayes, llr=llr, points=points_of(settings.presets))
    found = [
        Picture("scores", "Scores of targets and non-targets", score_plot.draw(scores)),
        Picture("bayes_error", BAYES_ERROR, error_plot),
    ]
    ratios = {name: known for name, known in scores.items() if llr[name]}
    if ratios:
        found.append(Picture("reliability", RELIABILITY, calibration_plot.draw_reliability(ratios)))
    return found
