"""Z-, T-, S- and AS-norm against slow definitions and hand cases; statistics on disk; the cohort."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from speakerlab.backend import cohort, score_norm
from speakerlab.backend.score_norm import Cohort, CohortStatistics, fingerprint, measure
from speakerlab.backend.scoring import Side, TrialScorer
from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable, TrialList

NUM_ENROLL, NUM_TEST, NUM_COHORT = 7, 11, 40


def rows_of(num, seed, dim=16):
    return np.random.default_rng(seed).standard_normal((num, dim))


def side(matrix, prefix, starts=None):
    num = len(matrix) if starts is None else len(starts)
    return Side(tuple(f"{prefix}{row}" for row in range(num)), matrix, f"{prefix}.scp", starts)


@pytest.fixture
def sides():
    return side(rows_of(NUM_ENROLL, 0), "m"), side(rows_of(NUM_TEST, 1), "u")


@pytest.fixture
def impostors():
    """Not the same as models and as test utterances, as with PLDA."""
    return Cohort(rows_of(NUM_COHORT, 2), rows_of(NUM_COHORT, 3), "cohort.scp")


def slow(norm, sides, impostors, top_n, enroll_scores):
    """Every pair by itself, as the papers define it; ``enroll_scores(m, row)``: model m against one row."""
    scores = np.empty((NUM_ENROLL, NUM_TEST))
    for m in range(NUM_ENROLL):
        for u in range(NUM_TEST):
            test = sides[1].factors[u]
            raw = enroll_scores(m, test)
            of_enroll = sorted(enroll_scores(m, row) for row in impostors.test_factors)
            of_test = sorted(float(row @ test) for row in impostors.enroll_factors)
            if norm == "as-norm":
                of_enroll, of_test = of_enroll[-top_n:], of_test[-top_n:]
            z = (raw - np.mean(of_enroll)) / np.std(of_enroll)
            t = (raw - np.mean(of_test)) / np.std(of_test)
            scores[m, u] = {"z-norm": z, "t-norm": t}.get(norm, 0.5 * (z + t))
    return scores


def normalised(norm, sides, impostors, top_n):
    scorer = TrialScorer(*sides, measure(norm, *sides, impostors, top_n))
    grid = np.indices((NUM_ENROLL, NUM_TEST)).reshape(2, -1)
    return scorer.score_rows(*grid).reshape(NUM_ENROLL, NUM_TEST)


@pytest.mark.parametrize("norm", score_norm.NORMS)
@pytest.mark.parametrize("block", [1, 100, 10**6])  # one identity at a time, some, all
def test_every_norm_equals_its_definition(norm, block, sides, impostors, monkeypatch):
    monkeypatch.setattr(score_norm, "BLOCK_CELLS", block)
    expected = slow(norm, sides, impostors, 5, lambda m, row: float(sides[0].factors[m] @ row))
    np.testing.assert_allclose(normalised(norm, sides, impostors, 5), expected, rtol=1e-10)


def test_all_of_the_cohort_makes_as_norm_s_norm(sides, impostors):
    every = normalised("as-norm", sides, impostors, NUM_COHORT)
    np.testing.assert_allclose(every, normalised("s-norm", sides, impostors, 2), rtol=1e-12)


@pytest.mark.parametrize("norm", ["z-norm", "as-norm"])
@pytest.mark.parametrize("block", [1, 300, 10**6])
def test_models_scored_by_their_maximum_are_so_against_the_cohort(norm, block, sides, impostors, monkeypatch):
    monkeypatch.setattr(score_norm, "BLOCK_CELLS", block)
    starts = np.array([0, 1, 4, 6, 7, 9, 10])
    models = side(rows_of(12, 5), "m", starts)
    groups = np.split(models.factors, starts[1:])
    expected = slow(norm, (models, sides[1]), impostors, 6, lambda m, row: float((groups[m] @ row).max()))
    np.testing.assert_allclose(normalised(norm, (models, sides[1]), impostors, 6), expected, rtol=1e-10)


def test_as_norm_by_hand():
    """Model (1, 0) against cohort scores 1, 3, 5: the top two have mean 4, deviation 1. Test (0, 2): 0, 2, 6:
    mean 4, deviation 2. Raw score 0: ((0 - 4) / 1 + (0 - 4) / 2) / 2 = -3."""
    models, tests = side(np.array([[1.0, 0.0]]), "m"), side(np.array([[0.0, 2.0]]), "u")
    rows = np.array([[1.0, 3.0], [3.0, 0.0], [5.0, 1.0]])
    impostors = Cohort(rows, rows, "cohort")
    statistics = measure("as-norm", models, tests, impostors, top_n=2)
    assert (statistics.enroll.mean.tolist(), statistics.enroll.std.tolist()) == ([4.0], [1.0])
    assert (statistics.test.mean.tolist(), statistics.test.std.tolist()) == ([4.0], [2.0])
    pair = TrialList(["m0"], ["u0"], np.array([1], dtype=np.int8))
    assert TrialScorer(models, tests, statistics).score(pair).scores.tolist() == [-3.0]


def test_single_precision_is_close_to_double(sides, impostors):
    single = [dataclasses.replace(s, factors=s.factors.astype(np.float32)) for s in sides]
    small = Cohort(*(f.astype(np.float32) for f in (impostors.enroll_factors, impostors.test_factors)), "c")
    expected = normalised("as-norm", sides, impostors, 9)
    np.testing.assert_allclose(normalised("as-norm", single, small, 9), expected, rtol=1e-4, atol=1e-4)


def test_norms_are_invariant_to_scale_and_shift_of_scores(sides, impostors):
    """s -> 3 s: a scale of the enrolment factors, of the trials and against the cohort alike."""
    scaled = dataclasses.replace(sides[0], factors=3 * sides[0].factors)
    larger = dataclasses.replace(impostors, enroll_factors=3 * impostors.enroll_factors)
    for norm in score_norm.NORMS:
        expected = normalised(norm, sides, impostors, 5)
        np.testing.assert_allclose(normalised(norm, (scaled, sides[1]), larger, 5), expected, rtol=1e-9)


def test_equal_cohort_scores_are_refused(sides):
    row = rows_of(1, 9)
    impostors = Cohort(np.repeat(row, 5, axis=0), np.repeat(row, 5, axis=0), "cohort.scp")
    with pytest.raises(
        DataError, match=r"cohort.scp: 'm0' of m.scp has the same score with each of 4 \(7 such"
    ):
        measure("as-norm", *sides, impostors, top_n=4)


def test_a_cohort_of_another_model_is_refused(sides):
    impostors = Cohort(rows_of(9, 1, dim=8), rows_of(9, 1, dim=8), "cohort.scp")
    with pytest.raises(DataError, match="cohort.scp: 8-d but m.scp has 16-d embeddings; extract both"):
        measure("z-norm", *sides, impostors)


# --- on disk


@pytest.mark.parametrize("norm", score_norm.NORMS)
def test_statistics_survive_their_file_exactly(norm, sides, impostors, tmp_path):
    statistics = measure(norm, *sides, impostors, 5)
    statistics.save(tmp_path / "stats.json")
    again = CohortStatistics.load(tmp_path / "stats.json", fingerprint(norm, *sides, impostors, 5))
    assert again.made_from == statistics.made_from
    for name in ("enroll", "test"):
        before, after = getattr(statistics, name), getattr(again, name)
        assert (before is None) == (after is None)
        if before is not None:
            assert after.ids == before.ids
            np.testing.assert_array_equal([after.mean, after.std], [before.mean, before.std])


def changes(sides, impostors):
    """Inputs of which one differs, and what the message calls it."""
    enroll, test = sides
    renamed = dataclasses.replace(enroll, ids=("x", *enroll.ids[1:]))
    moved = dataclasses.replace(test, factors=test.factors + 1e-9)
    other = dataclasses.replace(impostors, test_factors=impostors.test_factors[::-1])
    yield "enroll", ("as-norm", renamed, test, impostors, 5)
    yield "test", ("as-norm", enroll, moved, impostors, 5)
    yield "cohort", ("as-norm", enroll, test, other, 5)
    yield r"top_n \(was 5, is 6\)", ("as-norm", enroll, test, impostors, 6)
    yield r"norm \(was as-norm, is s-norm\)", ("s-norm", enroll, test, impostors, 5)


def test_stale_statistics_are_refused_with_what_changed(sides, impostors, tmp_path):
    measure("as-norm", *sides, impostors, 5).save(tmp_path / "stats.json")
    for name, inputs in changes(sides, impostors):
        with pytest.raises(DataError, match=f"stats.json: these .* were made from another {name}"):
            CohortStatistics.load(tmp_path / "stats.json", fingerprint(*inputs))


def test_z_norm_does_not_depend_on_the_test_side(sides, impostors):
    other = dataclasses.replace(sides[1], factors=-sides[1].factors)
    first, second = (fingerprint("z-norm", sides[0], test, impostors, 300) for test in (sides[1], other))
    assert first == second


@pytest.mark.parametrize("content", ["", "text", "{}", '{"kind": "back-end"}'])
def test_another_file_is_not_statistics(content, tmp_path):
    (tmp_path / "stats.json").write_text(content)
    with pytest.raises(DataError, match="stats.json: not a cohort statistics file.*; remove it and score"):
        CohortStatistics.load(tmp_path / "stats.json")


def test_missing_truncated_and_altered_statistics_are_refused(sides, impostors, tmp_path):
    path = tmp_path / "stats.json"
    with pytest.raises(DataError, match="stats.json: cannot be read: No such file"):
        CohortStatistics.load(path)
    measure("as-norm", *sides, impostors, 5).save(path)
    text = path.read_text()
    path.write_text(text[:-200])
    with pytest.raises(DataError, match="stats.json: not a cohort statistics file, or cut short"):
        CohortStatistics.load(path)
    path.write_text(text.replace('"m3"', '"m9"'))
    with pytest.raises(DataError, match="stats.json: is damaged"):
        CohortStatistics.load(path)


# --- the cohort


def embeddings():
    return EmbeddingTable(
        ("a1", "b1", "a2", "c1"), np.arange(8, dtype=np.float32).reshape(4, 2), "cohort.scp"
    )


UTT2SPK = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "unused": "d"}


def test_speaker_means_are_of_raw_embeddings():
    means = cohort.speaker_means(embeddings(), UTT2SPK)
    assert means.ids == ("a", "b", "c")
    assert means.matrix.tolist() == [[2, 3], [2, 3], [6, 7]]
    assert means.matrix.dtype == np.float32


@pytest.mark.parametrize(
    ("trial_ids", "speakers", "left"),
    [
        ([], [], ("a1", "b1", "a2", "c1")),
        (["x"], ["y"], ("a1", "b1", "a2", "c1")),
        (["a2"], [], ("b1", "c1")),  # an utterance of both: all of its speaker
        ([], ["b"], ("a1", "a2", "c1")),
        (["c1"], ["b"], ("a1", "a2")),
    ],
)
def test_who_speaks_in_the_trials_is_left_out(trial_ids, speakers, left, caplog):
    table = cohort.without_trial_speakers(embeddings(), UTT2SPK, trial_ids, speakers)
    assert table.ids == left
    rows = [embeddings().ids.index(i) for i in left]
    np.testing.assert_array_equal(table.matrix, embeddings().matrix[rows])
    assert ("left out" in caplog.text) == (len(left) < 4)


def test_without_speakers_each_utterance_counts_on_its_own():
    assert cohort.without_trial_speakers(embeddings(), {}, ["a1"], ["b"]).ids == ("b1", "a2", "c1")


def test_nobody_left_and_unknown_speakers_are_refused():
    with pytest.raises(DataError, match="cohort.scp: every cohort speaker occurs in the trials"):
        cohort.without_trial_speakers(embeddings(), UTT2SPK, [], ["a", "b", "c"])
    with pytest.raises(DataError, match=r"no speaker for b1 in the cohort's utt2spk \(2 such utterances\)"):
        cohort.without_trial_speakers(embeddings(), {"a1": "a", "a2": "a"}, [], [])
