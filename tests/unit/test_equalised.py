"""Equalised partitions: the same as repeating trials until every partition holds as many."""

from __future__ import annotations

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.metrics.detection import detection
from speakerlab.metrics.equalised import equalised_detection
from speakerlab.metrics.operating_points import PRESETS
from speakerlab.metrics.sorted_scores import sort_scores
from speakerlab.types import ScoreTable, TrialList

SRE = {"sre16": PRESETS["sre16"], "sre08": PRESETS["sre08"]}


def partitioned(sizes, *, seed=0):
    """Trials of partitions with these numbers of targets and non-targets, shuffled."""
    rng = np.random.default_rng(seed)
    rows = [
        (name, label, score)
        for shift, (name, counts) in enumerate(sizes.items())
        for label, count in zip((1, 0), counts, strict=True)
        for score in rng.normal(4 * label - 2 + shift, 2, count).round(1)
    ]
    rows = [rows[at] for at in rng.permutation(len(rows))]
    ids = [str(at) for at in range(len(rows))]
    labels = np.array([label for _, label, _ in rows], dtype=np.int8)
    table = ScoreTable(TrialList(ids, ids, labels, "list"), np.array([score for _, _, score in rows]))
    return table, [name for name, _, _ in rows]


def test_equals_repeating_the_trials_of_small_partitions():
    sizes = {"f": (20, 300), "m": (10, 100), "x": (40, 150)}
    table, partitions = partitioned(sizes)
    found = equalised_detection(table, partitions, SRE, llr=True)
    times = {(name, label): most // count for name, counts in sizes.items()
             for label, most, count in zip((1, 0), (40, 300), counts, strict=True)}  # fmt: skip
    labels = table.trials.labels
    weights = np.array([times[key] for key in zip(partitions, labels, strict=True)])
    expected = detection(
        sort_scores(*(np.repeat(table.scores[labels == kind], weights[labels == kind]) for kind in (1, 0))),
        SRE,
        llr=True,
    )
    assert found.eer == pytest.approx(expected.eer, abs=1e-12)
    for name in ("min_dcf", "act_dcf", "min_c_primary", "act_c_primary"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12)


def test_one_partition_is_the_plain_list():
    table, partitions = partitioned({"all": (30, 200)})
    found, plain = equalised_detection(table, partitions, SRE), detection(table, SRE)
    assert found.eer == pytest.approx(plain.eer, abs=1e-12)
    assert found.min_c_primary == pytest.approx(plain.min_c_primary, abs=1e-12)
    assert found.act_dcf == found.act_c_primary == {}


def test_known_and_unknown_nontargets_of_sre12():
    """Two partitions of non-targets and one of targets: P_fa is the mean over known and unknown speakers."""
    table, partitions = partitioned({"known": (25, 200), "unknown": (0, 50)})
    labels, kinds = table.trials.labels, np.array(partitions)
    at = -np.log(0.01 / 0.99)
    p_fa = np.mean(
        [(table.scores[(labels == 0) & (kinds == kind)] >= at).mean() for kind in ("known", "unknown")]
    )
    expected = (table.scores[labels == 1] < at).mean() + 99 * p_fa
    found = equalised_detection(table, partitions, {"sre12": PRESETS["sre12"]}, llr=True)
    assert found.act_dcf["0.01"] == pytest.approx(expected, abs=1e-12)


def test_order_does_not_matter():
    table, partitions = partitioned({"f": (20, 300), "m": (10, 100)})
    order = np.random.default_rng(5).permutation(len(partitions))
    ids = [table.trials.enroll_ids[row] for row in order]
    shuffled = ScoreTable(TrialList(ids, ids, table.trials.labels[order]), table.scores[order])
    first = equalised_detection(table, partitions, llr=True)
    assert equalised_detection(shuffled, [partitions[row] for row in order], llr=True) == first


def test_partitions_must_be_those_of_the_trials():
    table, partitions = partitioned({"f": (2, 3)})
    with pytest.raises(DataError, match="list: 5 trials but 4 partitions"):
        equalised_detection(table, partitions[1:])


def test_bad_scores_are_refused():
    table, partitions = partitioned({"f": (2, 3)})
    table.scores[1] = np.nan
    with pytest.raises(DataError, match="NaN or Inf"):
        equalised_detection(table, partitions)
