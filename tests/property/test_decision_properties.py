"""The decision and the mapped score for every cosine and threshold; runs of samples against a loop."""

import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from speakerlab.embed.speech_check import _in_runs
from speakerlab.pipeline.decision import Decision, Threshold, cosine

COSINES = st.floats(-1, 1)


@given(first=COSINES, second=COSINES, threshold=COSINES)
@example(first=1.0, second=0.999, threshold=1.0)
@example(first=-1.0, second=1.0, threshold=-1.0)
def test_scores_are_shares_that_rise_with_the_cosine_from_the_threshold_on(first, second, threshold):
    given_threshold = Threshold(threshold, "given")
    low, high = (Decision(value, value, given_threshold, ()) for value in sorted((first, second)))
    for found in (low, high):
        same, different = found.scores
        assert 0 <= same <= 1
        assert same + different == 1
        assert (found.label == "Same") == (found.cosine >= threshold)
        assert same == 0 or found.label == "Same"
    assert low.scores[0] <= high.scores[0]
    undecided = Decision(first, first, given_threshold, ("silence",))
    assert (undecided.label, undecided.scores) == ("Uncertain", [0.0, 0.0])


@given(st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4), st.floats(0.125, 8, width=32))
def test_the_cosine_is_one_of_a_vector_and_its_multiple(values, factor):
    vector = np.array(values, np.float32)
    found = cosine(vector, vector * np.float32(factor))
    assert -1 <= found <= 1
    if np.abs(vector).max() > 1e-3:
        assert abs(found - 1) < 1e-6
    assert cosine(vector, np.zeros(4, np.float32)) == 0


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_runs(mask, least):
    expected = []
    for value, run in itertools.groupby(mask):
        size = len(list(run))
        expected += [value and size >= least] * size
    assert _in_runs(np.array(mask, bool), least).tolist() == expected
