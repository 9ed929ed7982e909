"""The scoring engine: products, streams of trials, enrolment rules, against loops over pairs."""

from __future__ import annotations

import numpy as np
import pytest

from speakerlab.backend import enrolment, scoring
from speakerlab.backend.chain import Backend
from speakerlab.backend.scoring import Side, TrialScorer, products
from speakerlab.data import pairs
from speakerlab.errors import DataError
from speakerlab.io import scores as score_files
from speakerlab.types import EmbeddingTable, TrialList

TOLERANCE = 5e-7  # what the docstring of ``products`` promises for float32 rows of length 1, 192 numbers


def unit_rows(num, dim=192, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def side(matrix, prefix="u"):
    return Side(tuple(f"{prefix}{row}" for row in range(len(matrix))), matrix, f"{prefix}.scp")


def trial_list(rows):
    labels = np.full(len(rows), -1, dtype=np.int8)
    return TrialList([f"m{a}" for a, _ in rows], [f"u{b}" for _, b in rows], labels, "list")


class Plain:
    """A scorer whose factors are the embeddings, models times the number of their utterances."""

    def enroll_factors(self, matrix, counts):
        return matrix * counts[:, None].astype(matrix.dtype)

    def test_factors(self, matrix):
        return matrix


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01])  # products, products of half-empty blocks, pairs
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_equal_a_loop_over_pairs(share, dtype, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_TRIALS", 700)  # several blocks, the last one short
    enroll, test = unit_rows(20).astype(dtype), unit_rows(150, seed=1).astype(dtype)
    cells = np.random.default_rng(2).permutation(20 * 150)[: int(share * 3000)]
    rows = cells // 150, cells % 150
    expected = [float(enroll[a].astype(float) @ test[b].astype(float)) for a, b in zip(*rows, strict=True)]
    found = products(enroll, test, *rows)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE if dtype == np.float32 else 1e-15)
    assert products(enroll, test, *rows).tolist() == found.tolist()


def test_both_ways_to_multiply_are_taken(monkeypatch):
    taken = []
    pairwise = scoring._pairwise
    monkeypatch.setattr(scoring, "_pairwise", lambda *a: (taken.append(len(a[-1])), pairwise(*a)))
    matrix = unit_rows(100)
    every = np.repeat(np.arange(100), 100), np.tile(np.arange(100), 100)
    products(matrix, matrix, *every)
    assert taken == []
    products(matrix, matrix, np.arange(100), np.arange(100))
    assert taken == [100]


def test_a_score_does_not_depend_on_the_other_trials_beyond_rounding():
    enroll, test = unit_rows(40), unit_rows(300, seed=1)
    rows = np.repeat(np.arange(40), 300), np.tile(np.arange(300), 40)
    together = products(enroll, test, *rows)
    order = np.random.default_rng(3).permutation(len(together))
    shuffled = products(enroll, test, rows[0][order], rows[1][order])
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=TOLERANCE)
    alone = [products(enroll, test, rows[0][[i]], rows[1][[i]])[0] for i in order[:200]]
    np.testing.assert_allclose(alone, together[order[:200]], rtol=0, atol=TOLERANCE)


def test_no_trials_have_no_scores():
    assert products(unit_rows(2), unit_rows(2), np.empty(0, int), np.empty(0, int)).tolist() == []


def test_embeddings_of_different_models_are_refused():
    with pytest.raises(DataError, match="u.scp: 8-d but u.scp has 16-d"):
        TrialScorer(side(unit_rows(2, 8)), side(unit_rows(2, 16)))


def test_an_unknown_id_of_a_list_is_named():
    scorer = TrialScorer(side(unit_rows(2), "m"), side(unit_rows(2)))
    with pytest.raises(DataError, match="list: no embedding for 'u9' in u.scp; extract"):
        scorer.score(trial_list([(0, 1), (1, 9)]))


# --- streams


@pytest.fixture
def streamed(tmp_path, monkeypatch):
    """A list that takes many reads, batches and sorted runs, and its scorer."""
    monkeypatch.setattr("speakerlab.data.lines._BLOCK_BYTES", 500)
    monkeypatch.setattr(scoring, "BLOCK_TRIALS", 100)
    monkeypatch.setattr(pairs, "RUN_SIZE", 200)
    monkeypatch.setattr(pairs, "SAMPLE", 8)
    scorer = TrialScorer(side(unit_rows(30), "m"), side(unit_rows(50, seed=1)))
    cells = np.random.default_rng(4).permutation(30 * 50)[:1234]
    rows = [(int(cell // 50), int(cell % 50)) for cell in cells]
    path = tmp_path / "trials"
    path.write_text("".join(f"m{a} u{b} nontarget\n" for a, b in rows))
    return path, scorer, rows


def all_of(blocks):
    return [
        (a.decode(), b.decode(), score)
        for block in blocks
        for a, b, score in zip(block.enroll_ids, block.test_ids, block.scores.tolist(), strict=True)
    ]


def test_a_stream_gives_the_scores_of_the_list(streamed, tmp_path):
    path, scorer, rows = streamed
    found = all_of(scorer.stream(path, tmp_path))
    assert [pair[:2] for pair in found] == [(f"m{a}", f"u{b}") for a, b in rows]
    expected = scorer.score(trial_list(rows)).scores
    np.testing.assert_allclose([pair[2] for pair in found], expected, rtol=0, atol=TOLERANCE)
    assert all_of(scorer.stream(path, tmp_path)) == found
    assert list(tmp_path.iterdir()) == [path]


def test_a_stream_is_written_and_read_back(streamed, tmp_path):
    path, scorer, rows = streamed
    with score_files.score_writer(tmp_path / "scores") as writer:
        for block in scorer.stream(path, tmp_path):
            writer.write(*block)
    order = np.random.default_rng(5).permutation(len(rows))
    shuffled = trial_list([rows[i] for i in order])
    again = score_files.read(tmp_path / "scores", shuffled)
    np.testing.assert_allclose(again.scores, scorer.score(shuffled).scores, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (900, "m0 nobody target", r":900: no embedding for 'nobody' in u.scp"),
        (1000, "nobody u0 target", r":1000: no embedding for 'nobody' in m.scp"),
        (800, "m0 u0", r":800: 'm0 u0' does not fit 'a b target\|nontarget'"),
        (1234, "m0 u0 target m1", r":1234: 'm0 u0 target m1' does not fit"),
        (700, "m0 u0 maybe", r":700: 'm0 u0 maybe' does not fit"),
        (700, "", r":700: blank line"),
        (700, "m0\0 u0 target", r":700: not UTF-8"),
    ],
)
def test_a_bad_line_of_a_stream_is_named(streamed, tmp_path, number, line, message):
    path, scorer, _ = streamed
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        all_of(scorer.stream(path, tmp_path))


@pytest.mark.parametrize(("first", "again"), [(3, 1100), (1, 2), (1233, 1234), (1, 1234)])
@pytest.mark.parametrize("label", ["nontarget", "target"])
def test_a_repeated_pair_of_a_stream_is_named_with_both_lines(streamed, tmp_path, first, again, label):
    path, scorer, _ = streamed
    lines = path.read_text().splitlines()
    lines[again - 1] = lines[first - 1].rsplit(" ", 1)[0] + f" {label}"
    path.write_text("\n".join(lines) + "\n")
    message = f":{again}: this pair is on line {first} already" + (
        ", with another" if label == "target" else ";"
    )
    with pytest.raises(DataError, match=message):
        all_of(scorer.stream(path, tmp_path))


def test_runs_that_do_not_overlap_are_compared_a_stretch_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "RUN_SIZE", 64)
    monkeypatch.setattr(pairs, "SAMPLE", 4)
    lengths = []
    repeated = pairs._repeated
    monkeypatch.setattr(pairs, "_repeated", lambda keys: lengths.append(len(keys)) or repeated(keys))
    ledger = pairs.PairLedger(tmp_path / "new")
    for start in range(0, 64 * 20, 64):
        ledger.add(np.arange(start, start + 64, dtype=np.int32), np.zeros(64, dtype=np.int32))
    assert ledger.repeated() is None
    assert sum(lengths) == 64 * 20
    assert max(lengths) <= 64 + 20 * 4
    ledger.add(np.array([700], dtype=np.int32), np.array([0], dtype=np.int32))
    assert ledger.repeated() == (700, 0)


@pytest.mark.parametrize("pair", [(0, 0), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (2**31 - 1, 0)])
def test_numbers_of_any_size_make_pairs(tmp_path, pair):
    ledger = pairs.PairLedger(tmp_path)
    first, second = (np.array([number, 5], dtype=np.int32) for number in pair)
    ledger.add(first, second)
    ledger.add(np.array([5, 6], dtype=np.int32), np.array([6, 5], dtype=np.int32))
    assert ledger.repeated() is None
    ledger.add(first[:1], second[:1])
    assert ledger.repeated() == pair


# --- models of several utterances


def table_of(matrix):
    return EmbeddingTable(tuple(f"u{row}" for row in range(len(matrix))), matrix, "embeddings.scp")


ENROLL_MAP = {"m0": ["u0", "u3"], "m1": ["u1"], "m2": ["u4", "u2", "u0"]}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean-embedding", lambda scores: len(scores) * np.mean(scores)),  # Plain multiplies by the number
        ("mean-score", np.mean),
        ("max-score", max),
    ],
)
def test_rules_equal_their_definition(rule, expected, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_TRIALS", 7)
    matrix = unit_rows(9, dim=24)
    models = enrolment.models(ENROLL_MAP, table_of(matrix), Plain(), rule, "enroll.map")
    scorer = TrialScorer(models, enrolment.test_side(table_of(matrix), Plain()))
    rows = [(a, b) for b in range(9) for a in (2, 0, 1)]
    scored = scorer.score(trial_list(rows)).scores
    utts = [[int(name[1:]) for name in ENROLL_MAP[f"m{a}"]] for a, _ in rows]
    each = [[float(matrix[u] @ matrix[b]) for u in of] for of, (_, b) in zip(utts, rows, strict=True)]
    np.testing.assert_allclose(scored, [expected(scores) for scores in each], rtol=0, atol=2e-6)


def test_a_loud_utterance_does_not_outvote_a_quiet_one():
    """Lengths 10 and 1 count the same in the mean of length-normalised embeddings."""
    table = EmbeddingTable(("a", "b", "c"), np.array([[10, 0], [0, 1], [0, -3]], dtype=np.float32))
    backend = Backend.default()
    enroll_map = {"m": ["a", "b"], "n": ["c"]}
    models = enrolment.models(enroll_map, backend.transform(table), backend.scorer, "mean-embedding", "map")
    np.testing.assert_allclose(models.factors, [[0.5**0.5, 0.5**0.5], [0, -1]], atol=1e-7)


def test_utterances_of_a_model_that_cancel_are_refused():
    table = EmbeddingTable(("a", "b"), np.array([[1, 2], [-1, -2]], dtype=np.float32))
    backend = Backend.default()
    with pytest.raises(DataError, match="enroll.map: the embeddings of model m cancel"):
        enrolment.models(
            {"m": ["a", "b"]}, backend.transform(table), backend.scorer, "mean-embedding", "enroll.map"
        )


def test_each_embedding_can_be_a_model():
    matrix = unit_rows(5)
    every = enrolment.utterances(table_of(matrix), Plain())
    assert every.ids == table_of(matrix).ids
    np.testing.assert_array_equal(every.factors, matrix)


@pytest.mark.parametrize(
    ("enroll_map", "message"),
    [
        ({}, "enroll.map: holds no model"),
        ({"m": ["u0"], "n": []}, "enroll.map: model n has no utterance"),
        ({"m": ["u0", "u7"]}, "no embedding for u7"),
        ({"m": ["u0", "u1", "u0"]}, "enroll.map: model m has an utterance twice; list each"),
    ],
)
@pytest.mark.parametrize("rule", enrolment.RULES)
def test_bad_enroll_maps_are_refused(enroll_map, message, rule):
    with pytest.raises(DataError, match=message):
        enrolment.models(enroll_map, table_of(unit_rows(3)), Plain(), rule, "enroll.map")


def test_an_unknown_rule_is_a_key_error():
    with pytest.raises(KeyError, match="median"):
        enrolment.models({"m": ["u0"]}, table_of(unit_rows(3)), Plain(), "median", "enroll.map")
