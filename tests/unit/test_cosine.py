"""Cosine as a scorer, against scipy's cosine distance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cosine as cosine_distance

from speakerlab.backend.cosine import Cosine
from speakerlab.errors import DataError


def test_factors_give_the_cosine():
    rng = np.random.default_rng(2)
    models, tests = rng.normal(size=(3, 7)), rng.normal(size=(4, 7))
    scores = Cosine().enroll_factors(models, [1, 2, 9]) @ Cosine().test_factors(tests).T
    expected = [[1 - cosine_distance(a, b) for b in tests] for a in models]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=3e-7)


def test_a_row_without_direction_has_no_cosine():
    with pytest.raises(DataError, match=r"row 1 is zero, without direction \(1 such rows\)"):
        Cosine().enroll_factors([[1, 0], [0, 0]], [1, 2])
