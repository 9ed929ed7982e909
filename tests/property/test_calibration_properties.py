"""Calibrations on scores of any kind: what must hold whatever the trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerlab.backend import calibration_file, pav
from speakerlab.backend.calibration import train
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.metrics.log_likelihood_ratio import cllr
from speakerlab.types import ScoreTable, TrialList

PRIORS = st.sampled_from([0.5, 0.01, 0.9])


@st.composite
def scored(draw):
    """Up to 40 trials of both kinds with many equal scores, which are not all the same."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=38))]
    scores = draw(st.lists(st.integers(-5, 5), min_size=len(labels), max_size=len(labels)))
    if len(set(scores)) == 1:
        scores[0] += 1
    return table(np.array(scores) / 4, labels)


def table(scores, labels):
    ids = [f"u{n}" for n in range(len(labels))]
    trials = TrialList(ids, ["t"] * len(ids), np.asarray(labels, dtype=np.int8))
    return ScoreTable(trials, np.asarray(scores, dtype=np.float64))


def inputs(of):
    return Inputs.of({"a": of})


@given(scored(), st.randoms(use_true_random=False), PRIORS)
def test_any_order_of_trials_gives_the_same_calibration(trials, random, prior):
    order = list(range(len(trials.scores)))
    random.shuffle(order)
    turned = table(trials.scores[order], trials.trials.labels[order])
    assert train(inputs(turned), prior) == train(inputs(trials), prior)
    assert pav.train(inputs(turned)) == pav.train(inputs(trials))


@given(scored())
def test_no_calibration_is_worse_than_knowing_nothing(trials):
    trained = train(inputs(trials))
    assert trained.cost <= 1 + 1e-12
    assert cllr(trained.llr(inputs(trials))) == pytest.approx(trained.cost, rel=1e-9, abs=1e-12)


@given(scored(), PRIORS)
def test_an_affine_change_of_scores_changes_no_llr(trials, prior):
    other = ScoreTable(trials.trials, 100 - 0.01 * trials.scores)
    before = train(inputs(trials), prior).llr(inputs(trials)).scores
    after = train(inputs(other), prior).llr(inputs(other)).scores
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)


@given(scored())
def test_pav_never_falls_and_stays_within_what_the_numbers_of_trials_can_tell(trials):
    trained = pav.train(inputs(trials))
    llrs = trained.llr(inputs(trials)).scores
    assert (np.diff(llrs[np.argsort(trials.scores, kind="stable")]) >= 0).all()
    known = trained.provenance
    prior_odds = math.log(known.num_targets / known.num_nontargets)
    assert llrs.max() <= math.log(known.num_targets + 1) - prior_odds + 1e-9
    assert llrs.min() >= -math.log(known.num_nontargets + 1) - prior_odds - 1e-9
    assert len({*zip(trials.scores.tolist(), llrs.tolist(), strict=True)}) == len(set(trials.scores.tolist()))


@given(scored(), PRIORS)
def test_a_file_changes_nothing(trials, prior):
    for trained in (train(inputs(trials), prior), pav.train(inputs(trials))):
        assert calibration_file.from_json(calibration_file.to_json(trained), "c.json") == trained
