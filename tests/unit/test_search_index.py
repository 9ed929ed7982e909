"""The search index: exact with every scan, safe against damage, kills, other processes and bad input."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speakerlab.backend import domain_norm
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.voiceprint import index_files, index_ids, search_faiss, search_products, search_scan
from speakerlab.voiceprint.index import Gallery, SearchIndex

DIM = 24
SCANS = ["auto", "fp32", "int8", "faiss"]


def vectors(num, seed=0, dim=DIM):
    return np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)


def names(num, prefix="p"):
    return [f"{prefix}{number:05d}" for number in range(num)]


def directions(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))


def by_hand(ids, rows, query, top_k, gains=None, biases=None, gain=1.0, bias=0.0):
    """Everybody's score in float64, sorted; ties by id."""
    cosines = directions(rows).astype(np.float32).astype(np.float64) @ directions(query[None])[0]
    gains = np.zeros(len(ids)) if gains is None else gains
    biases = np.zeros(len(ids)) if biases is None else biases
    scores = cosines * (gains + gain) + biases + bias
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:top_k]
    return [ids[row] for row in order], scores[order]


def opened(path=None, scan="auto", dim=DIM, key="model", num_threads=2):
    return SearchIndex.open(path, dim, key, scan=scan, num_threads=num_threads)


def filled(num=40, path=None, **options):
    index = opened(path, **options)
    index.upsert(names(num), vectors(num))
    return index


def top(index, query, top_k=1, **options):
    (matches,) = index.search(np.asarray(query)[None], top_k, **options)
    return list(matches.ids)


# Exactness


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(
    ("num", "num_queries", "top_k"), [(3000, 1, 1), (9000, 5, 10), (5001, 40, 3), (700, 2, 100)]
)
def test_ranks_and_scores_are_those_of_a_full_sort(scan, num, num_queries, top_k):
    ids, rows = names(num), vectors(num, 1)
    queries = np.concatenate([rows[:num_queries:2] * 3, vectors(num_queries, 2)])[:num_queries]
    index = opened(scan=scan)
    index.upsert(ids, rows)
    for query, matches in zip(queries, index.search(queries, top_k), strict=True):
        wanted, scores = by_hand(ids, rows, query, top_k)
        assert list(matches.ids) == wanted
        np.testing.assert_allclose(matches.scores, scores, atol=1e-14)


@pytest.mark.parametrize("scan", SCANS)
def test_rows_that_differ_in_the_last_place_are_told_apart(scan):
    """Cosines with the query 1e-7 apart: int8 codes are equal, fp32 products are in any order."""
    num, rng = 6000, np.random.default_rng(3)
    query, other = directions(rng.standard_normal((2, 192)))
    other = directions((other - (other @ query) * query)[None])[0]
    angles = 0.7 + 1e-7 * rng.permutation(num)
    rows = (np.cos(angles)[:, None] * query + np.sin(angles)[:, None] * other).astype(np.float32)
    index = opened(scan=scan, dim=192)
    index.upsert(names(num), rows)
    (matches,) = index.search(query[None], 20)
    wanted, scores = by_hand(names(num), rows, query, 20)
    assert list(matches.ids) == wanted
    assert len(np.unique(scores)) > 15  # they do differ
    np.testing.assert_allclose(matches.scores, scores, atol=1e-14)


@pytest.mark.parametrize("scan", SCANS)
def test_equal_scores_come_in_the_order_of_ids(scan):
    index = opened(scan=scan)
    ids = np.random.default_rng(0).permutation(names(5000)).tolist()
    index.upsert(ids, np.tile(vectors(1), (5000, 1)))
    assert top(index, vectors(1)[0], 70) == names(70)


def test_int8_and_fp32_give_the_same_bits():
    rows, queries = vectors(8000, 4, 192), vectors(33, 5, 192)
    found = []
    for scan in ("fp32", "int8"):
        index = opened(scan=scan, dim=192)
        index.upsert(names(8000), rows)
        found.append(index.search(queries, 7))
    for one, other in zip(*found, strict=True):
        assert one.ids == other.ids
        assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize("peak", [1.0, 30.0])
def test_the_error_bound_of_the_int8_scan_holds_and_is_not_idle(peak):
    """``peak`` makes one component large, which leaves few steps for the others."""
    rows, queries = vectors(512, 6, 192), vectors(8, 7, 192)
    rows[:, 0] *= peak
    index = opened(scan="int8", dim=192)
    index.upsert(names(512), rows)
    exact = directions(rows) @ directions(queries).T
    matrix = index._matrix()
    scanner = search_products.Int8Scanner(matrix, directions(queries), 1)
    found = scanner.products(0, 512) * scanner.units
    bound = matrix.errors[:512, None] * scanner.factor + scanner.error
    assert (np.abs(found - exact) <= bound).all()
    assert bound.max() < 0.02 * (peak if peak > 1 else 1)
    assert np.abs(found - exact).max() > bound.max() / 100


def test_the_step_of_a_code_and_its_rest_are_as_derived_by_hand():
    codes, steps, errors = search_products.quantised(np.array([[1.27, -0.634, 0.0]]))
    assert codes.tolist() == [[127, -63, 0]]
    np.testing.assert_allclose(steps, [0.01], rtol=1e-7)
    np.testing.assert_allclose(errors, [0.004], atol=1e-6)


@pytest.mark.parametrize("scan", SCANS)
def test_gains_and_biases_of_rows_and_queries(scan):
    num, rng = 6000, np.random.default_rng(8)
    ids, rows, queries = names(num), vectors(num, 9), vectors(3, 10)
    gains, biases = rng.uniform(-1.5, 2, num), rng.normal(0, 3, num)
    gain, bias = [1.0, 0.2, -0.5], [0.0, -4.0, 100.0]
    index = opened(scan=scan)
    index.upsert(ids, rows, gains, biases)
    for which, matches in enumerate(index.search(queries, 9, gain, bias)):
        wanted, scores = by_hand(ids, rows, queries[which], 9, gains, biases, gain[which], bias[which])
        assert list(matches.ids) == wanted
        np.testing.assert_allclose(matches.scores, scores, atol=1e-12)


@pytest.mark.parametrize("scan", SCANS)
def test_a_query_gain_below_zero_turns_the_order_round(scan):
    index = opened(scan=scan)
    index.upsert(["a", "b"], np.array([[1, 0], [0, 1]]).repeat(DIM // 2, axis=1))
    query = np.array([1.0, 0.1]).repeat(DIM // 2)
    assert top(index, query, 2) == ["a", "b"]
    assert top(index, query, 2, query_gain=-1.0) == ["b", "a"]


@pytest.mark.parametrize("scan", ["fp32", "int8"])
def test_scores_of_an_adapted_model(scan):
    """As-norm, as ``DomainNorm.scores`` has it, is a gain and a bias for each row and each query."""
    norm, _ = domain_norm.learn(vectors(60, 11), np.arange(60), 0.9)
    enrolled, tests = norm.centred(vectors(300, 12)), norm.centred(vectors(4, 13))

    def affine(side):
        mean, std = norm.statistics(side @ norm.cohort.T)
        return norm.spread / (2 * std), norm.location / 2 - norm.spread * mean / (2 * std)

    index = opened(scan=scan)
    index.upsert(names(300), enrolled.astype(np.float32), *affine(enrolled))
    wanted = norm.scores(enrolled, tests)
    for which, matches in enumerate(index.search(tests, 300, *affine(tests))):
        rows = [int(name[1:]) for name in matches.ids]
        np.testing.assert_allclose(matches.scores, wanted[rows, which], atol=1e-6)
        assert rows[0] == wanted[:, which].argmax()


# Galleries


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("size", [3, 4000])
def test_a_search_among_some(scan, size):
    ids, rows = names(9000), vectors(9000, 1)
    index = opened(scan=scan)
    index.upsert(ids, rows)
    some = np.random.default_rng(2).choice(9000, size, replace=False)
    gallery = Gallery([*(ids[row] for row in some), "nobody"])
    for seed in (3, 4):
        query = vectors(1, seed)[0]
        wanted, _ = by_hand([ids[row] for row in some], rows[some], query, 5)
        assert top(index, query, 5, among=gallery) == wanted
        assert top(index, query, 5, among=[ids[row] for row in some]) == wanted


def test_a_kept_gallery_follows_the_index():
    index, gallery = filled(20), Gallery(["p00003", "p00004", "new"])
    query = vectors(20)[3]
    assert top(index, query, 9, among=gallery)[0] == "p00003"
    index.remove(["p00003"])
    index.upsert(["taker"], vectors(20)[3:4])  # in the row that became free
    assert top(index, query, 9, among=gallery) == ["p00004"]
    index.upsert(["new"], query[None])
    assert top(index, query, 9, among=gallery) == ["new", "p00004"]
    other = opened()
    other.upsert(["x", "new"], vectors(2, 5))
    assert top(other, query, 9, among=gallery) == ["new"]  # another index, another row


def test_among_nobody_is_nobody():
    assert top(filled(), vectors(1)[0], 3, among=[]) == []
    assert top(filled(), vectors(1)[0], 3, among=["nobody"]) == []


# Changes


@pytest.mark.parametrize("scan", SCANS)
def test_an_empty_index_finds_nobody(scan):
    index = opened(scan=scan)
    assert len(index) == 0
    assert index.ids == ()
    assert top(index, vectors(1)[0], 3) == []
    index.upsert([], np.empty((0, DIM), np.float32))
    assert index.remove(["nobody"]) == 0
    assert index.search(np.empty((0, DIM)), 3) == []


@pytest.mark.parametrize("scan", SCANS)
def test_more_wanted_than_there_are(scan):
    assert sorted(top(filled(7, scan=scan), vectors(1)[0], 1000)) == names(7)


@pytest.mark.parametrize("scan", SCANS)
def test_removed_ids_are_not_found_even_where_all_others_score_below_zero(scan):
    query = directions(vectors(1))[0]
    rows = -query + 0.3 * directions(vectors(50, 3))
    index = opened(scan=scan)
    index.upsert(names(50), rows.astype(np.float32))
    index.upsert(["best"], query[None].astype(np.float32))
    assert top(index, query) == ["best"]
    assert index.remove(["best", "nobody", "best"]) == 1
    assert len(index) == 50
    assert sorted(top(index, query, 60)) == names(50)


def test_a_row_is_erased_and_used_again():
    index = filled(30)
    index.remove(["p00007"])
    assert not index._files["vectors"][7].any()
    assert not index._files["codes"][7].any()
    assert index._files["ids"][7] == b""
    index.upsert(["next"], vectors(1, 5))
    assert index._files.header.used == 30
    assert top(index, vectors(1, 5)[0]) == ["next"]
    assert index.ids == tuple(sorted({*names(30), "next"} - {"p00007"}))


def test_an_id_entered_again_has_the_new_vector_only():
    index = filled(30)
    index.upsert(["p00007", "new"], vectors(2, 5))
    assert len(index) == 31
    assert top(index, vectors(2, 5)[0]) == ["p00007"]
    (matches,) = index.search(vectors(30)[7:8], 31)
    assert matches.scores.max() < 0.99
    assert list(matches.ids).count("p00007") == 1


def test_growing_leaves_what_is_there_where_it_is(tmp_path):
    index = filled(10, tmp_path)
    before = (tmp_path / "vectors").stat()
    first = index._files["vectors"][:10].copy()
    index.upsert(names(5000, "q"), vectors(5000, 4))
    after = (tmp_path / "vectors").stat()
    assert (before.st_ino, before.st_size) != (after.st_ino, after.st_size)
    assert before.st_ino == after.st_ino
    assert np.array_equal(index._files["vectors"][:10], first)


def test_many_changes_leave_what_a_dictionary_has():
    index, known, rng = opened(), {}, np.random.default_rng(0)
    for step in range(120):
        chosen = rng.choice(400, rng.integers(1, 60), replace=False)
        ids = [f"p{number}" for number in chosen]
        if step % 3 == 2:
            assert index.remove(ids) == sum(known.pop(name, None) is not None for name in ids)
        else:
            rows = vectors(len(ids), 1000 + step)
            index.upsert(ids, rows)
            known.update(zip(ids, rows, strict=True))
    assert index.ids == tuple(sorted(known))
    assert index._files.header.used < 700  # rows were used again
    for name in list(known)[:50]:
        assert top(index, known[name]) == [name]


def test_the_table_of_ids_outlives_collisions(monkeypatch):
    monkeypatch.setattr(index_ids.IdTable, "_hash", lambda _, ids: np.full(len(ids), 5, np.uint64))
    index = filled(300)
    index.remove(names(300)[::3])
    index.upsert(["again"], vectors(1, 9))
    assert len(index) == 201
    assert top(index, vectors(300)[4]) == ["p00004"]
    assert top(index, vectors(1, 9)[0]) == ["again"]


@pytest.mark.parametrize("name", ["王芳", "ünï", "a b", "x" * 64, "../../etc/passwd"])
def test_ids_of_any_script(name):
    index = filled(3)
    index.upsert([name], vectors(1, 4))
    assert top(index, vectors(1, 4)[0]) == [name]


# Bad input: one line, nothing changed


BAD = {
    "twice": (["a", "a"], vectors(2)),
    "long id": (["x" * 65], vectors(1)),
    "no id": ([""], vectors(1)),
    "NUL": (["a\0"], vectors(1)),
    "size": (["a"], vectors(1, dim=5)),
    "flat": (["a"], vectors(1)[0]),
    "number": (["a"], vectors(2)),
    "NaN": (["a", "b"], np.array([[1.0] * DIM, [np.nan] * DIM], np.float32)),
    "infinite": (["a"], np.full((1, DIM), np.inf, np.float32)),
    "no length": (["a"], np.zeros((1, DIM), np.float32)),
}


@pytest.mark.parametrize("what", BAD)
def test_vectors_that_cannot_be_entered(what):
    index = filled(5)
    with pytest.raises(DataError) as error:
        index.upsert(*BAD[what])
    assert "\n" not in str(error.value)
    assert index.ids == tuple(names(5))
    assert top(index, vectors(5)[2]) == ["p00002"]


def test_a_bad_vector_far_down_leaves_nothing_of_the_others():
    index, rows = filled(5), vectors(20_000, 2)
    rows[19_999] = np.nan
    with pytest.raises(DataError, match="not finite"):
        index.upsert(names(20_000, "q"), rows)
    assert index.ids == tuple(names(5))
    index.upsert(names(3, "q"), vectors(3, 2))
    assert len(index) == 8


@pytest.mark.parametrize("values", [[np.nan, 0], [1.0], [[1.0, 2.0]]])
def test_gains_that_are_not_numbers(values):
    with pytest.raises(DataError, match="2 finite numbers"):
        filled(5).upsert(["a", "b"], vectors(2), gains=values)


@pytest.mark.parametrize(
    ("queries", "why"),
    [
        (np.full((1, DIM), np.nan), "not finite"),
        (np.zeros((2, DIM)), "no length"),
        (np.ones((1, DIM + 1)), r"\[1, 25\]"),
        (np.ones(DIM), r"\[24\]"),
    ],
)
def test_queries_that_cannot_be_compared(queries, why):
    with pytest.raises(DataError, match=why):
        filled().search(queries, 1)


def test_at_least_one_is_wanted():
    with pytest.raises(DataError, match="top_k is 0"):
        filled().search(vectors(1), 0)


# Files


def test_what_was_entered_is_there_when_opened_again(tmp_path):
    with filled(3000, tmp_path) as index:
        index.commit(17)
        before = index.search(vectors(4, 5), 6)
    with opened(tmp_path) as index:
        assert index.revision == 17
        assert index.ids == tuple(names(3000))
        for one, other in zip(before, index.search(vectors(4, 5), 6), strict=True):
            assert one.ids == other.ids
            assert np.array_equal(one.scores, other.scores)


def spoil_checksum(path):
    data = (path / "header.json").read_bytes()
    (path / "header.json").write_bytes(data.replace(b'"live": 5', b'"live": 6'))


def shorten(path):
    (path / "header.json").write_bytes((path / "header.json").read_bytes()[:100])


def other_format(path):
    files = index_files.IndexFiles(path, DIM, "model")
    files.put(format=index_files.FORMAT + 1)
    files.close()


def cut_column(path):
    os.truncate(path / "codes", 50)


def cut_table(path):
    (table,) = path.glob("slots.*")
    os.truncate(table, 8)


def lose_column(path):
    (path / "scales").unlink()


@pytest.mark.parametrize(
    "damage", [spoil_checksum, shorten, other_format, cut_column, cut_table, lose_column]
)
def test_a_damaged_index_is_made_anew(tmp_path, damage):
    filled(5, tmp_path).close()
    damage(tmp_path)
    with opened(tmp_path) as index:
        assert (len(index), index.revision) == (0, 0)
        index.upsert(names(9), vectors(9))
        assert top(index, vectors(9)[8]) == ["p00008"]


@pytest.mark.parametrize(("dim", "key"), [(DIM, "another model"), (DIM * 2, "model")])
def test_an_index_of_something_else_is_made_anew(tmp_path, dim, key):
    first = filled(5, tmp_path)
    first.commit(3)
    second = opened(tmp_path, dim=dim, key=key)
    assert (len(second), second.revision) == (0, 0)
    with pytest.raises(DataError, match="another model"):  # and those who had it open are told
        first.search(vectors(1), 1)
    with pytest.raises(DataError, match="another model"):
        first.upsert(["a"], vectors(1))


def test_closing_what_another_has_replaced_or_was_closed(tmp_path):
    first, second = filled(5, tmp_path), opened(tmp_path, key="another model")
    for index in (first, first, second):
        index.close()
    assert len(opened(tmp_path, key="another model")) == 0


def test_after_a_power_failure_only_what_was_synced_is_trusted(tmp_path, monkeypatch):
    index = filled(5, tmp_path)
    index.sync()
    monkeypatch.setattr(index_files, "_boot", lambda: "the next run of the system")
    assert len(opened(tmp_path)) == 5
    monkeypatch.undo()
    index.upsert(["late"], vectors(1, 3))
    monkeypatch.setattr(index_files, "_boot", lambda: "the next run of the system")
    assert len(opened(tmp_path)) == 0


def upsert_and_be_killed(path, where):
    index = opened(path)
    if where == "before the revision":
        index.upsert(["late"], vectors(1, 3))
    else:
        index_ids.IdTable.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        index.upsert(["late"], vectors(1, 3))
    os.kill(os.getpid(), signal.SIGKILL)


def killed(path, where):
    process = multiprocessing.get_context("spawn").Process(target=upsert_and_be_killed, args=(path, where))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_between_data_and_revision(tmp_path):
    with filled(5, tmp_path) as index:
        index.commit(7)
    killed(tmp_path, "before the revision")
    with opened(tmp_path) as index:
        assert index.revision == 7  # older than the store's: what changed since is entered once more
        index.upsert(["late"], vectors(1, 3))
        index.commit(8)
        assert len(index) == 6
        assert index.revision == 8


def test_killed_in_the_middle_of_a_change(tmp_path):
    reader = filled(5, tmp_path)
    reader.commit(7)
    killed(tmp_path, "in the middle")
    for refused in (
        lambda: reader.search(vectors(1), 1),
        lambda: reader.upsert(["a"], vectors(1)),
        lambda: len(reader),
    ):
        with pytest.raises(DataError, match="half-written.*rebuild"):
            refused()
    other = opened(tmp_path)
    assert (len(other), other.revision) == (0, 0)
    assert len(reader) == 0  # it sees the new one
    other.upsert(names(5), vectors(5))
    assert top(reader, vectors(5)[1]) == ["p00001"]


def test_clear_mends_it_for_whoever_has_it_open(tmp_path):
    index = filled(5, tmp_path)
    killed(tmp_path, "in the middle")
    index.clear()
    assert (len(index), index.revision) == (0, 0)
    index.upsert(names(3), vectors(3))
    assert index.ids == tuple(names(3))


def write_for_a_while(path, rounds):
    """All of a hundred ids change between two states at once, by pairs of opposite vectors."""
    with opened(path) as index:
        for step in range(rounds):
            sign = 1 if step % 2 else -1
            index.upsert(names(100), sign * np.tile(vectors(1), (100, 1)))
            if step % 10 == 0:
                index.upsert(
                    names(3000, f"grown{step}-"),
                    vectors(3000, 2) * 0.0 + np.eye(1, DIM, 1).astype(np.float32),
                )
                index.remove(names(3000, f"grown{step}-"))


def read_for_a_while(path, done, results):
    query, seen, searches = vectors(1), set(), 0
    with opened(path) as index:
        while not done.is_set():
            (matches,) = index.search(query, 100, among=names(100))
            scores = set(np.sign(np.round(matches.scores, 3)).tolist())
            seen.add((len(matches.ids), tuple(sorted(scores))))
            searches += 1
    results.put((searches, seen))


def test_two_readers_see_whole_states_while_another_process_writes(tmp_path):
    context = multiprocessing.get_context("spawn")
    with opened(tmp_path) as index:
        index.upsert(names(100), np.tile(vectors(1), (100, 1)))
    done, results = context.Event(), context.Queue()
    readers = [context.Process(target=read_for_a_while, args=(tmp_path, done, results)) for _ in range(2)]
    writer = context.Process(target=write_for_a_while, args=(tmp_path, 101))
    for process in (*readers, writer):
        process.start()
    writer.join(240)
    assert writer.exitcode == 0
    done.set()
    found = [results.get(timeout=60) for _ in readers]
    for process in readers:
        process.join(60)
        assert process.exitcode == 0
    for searches, seen in found:
        assert searches > 10
        assert seen <= {(100, (1.0,)), (100, (-1.0,))}
    assert len(set.union(*(seen for _, seen in found))) == 2  # both states were seen


def test_threads_share_an_index(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    index, rows = filled(3000, tmp_path, scan="int8"), vectors(3000)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: top(index, rows[number]), range(200)))
    assert found == [[name] for name in names(200)]


# What cannot be written


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written") as error:
        opened(tmp_path / "file" / "index")
    assert "\n" not in str(error.value)


def test_a_disk_that_is_read_only():
    with pytest.raises(DataError, match="cannot be written"):
        opened(Path("/proc/self/index"))


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from speakerlab.errors import DataError
from speakerlab.voiceprint.index import SearchIndex
index = SearchIndex.open(Path(sys.argv[1]), 24, "model")
index.upsert(["a", "b"], np.eye(24, dtype=np.float32)[:2])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))  # enough for ids, not for vectors
try:
    index.upsert([f"n{i}" for i in range(3000)], np.ones((3000, 24), np.float32))
except DataError as error:
    print(error)
print(len(index), index.search(np.eye(24)[1:2], 1)[0].ids)
"""


def test_a_disk_that_is_full(tmp_path):
    """A limit of the size of files stands for it: the system refuses the room in the same way."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "index"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refusal, after = done.stdout.splitlines()
    assert "cannot be written: File too large" in refusal
    assert after == "2 ('b',)"


# Parts


def test_a_torch_without_the_int8_product_scans_fp32(monkeypatch, capsys):
    monkeypatch.setattr(torch, "_int_mm", lambda *_, **__: torch.zeros(1))
    index = filled(500, scan="int8")
    assert top(index, vectors(500)[77]) == ["p00077"]
    assert "fp32 is scanned" in capsys.readouterr().err
    monkeypatch.delattr(torch, "_int_mm")
    assert not search_products.int8_works()


def test_the_threads_of_torch_stay_as_they_were():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        top(filled(500, scan="int8"), vectors(1)[0])
        assert torch.get_num_threads() == 3
        from threading import Thread

        seen = []
        thread = Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


def test_small_galleries_need_no_torch():
    code = (
        "import sys, numpy as np; from speakerlab.voiceprint.index import SearchIndex;"
        "index = SearchIndex.open(None, 8, 'm'); index.upsert(['a', 'b'], np.eye(8)[:2]);"
        "print(index.search(np.eye(8)[:1], 1)[0].ids, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('a',) False"


def test_faiss_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="faiss"):
        opened(scan="faiss")


def test_faiss_is_asked_again_where_rounding_could_hide_a_row(monkeypatch):
    """More rows within its error of the best than it was asked for."""
    monkeypatch.setattr(search_faiss, "MORE", 1)
    index = opened(scan="faiss")
    index.upsert(names(500)[::-1], np.tile(vectors(1), (500, 1)))
    assert top(index, vectors(1)[0], 3) == names(3)


def test_rows_wait_in_bounded_number(monkeypatch):
    """Everything within the error of the best: notes are settled on the way."""
    monkeypatch.setattr(search_scan, "MAX_NOTED", 100)
    index = opened(scan="int8", dim=192)
    rows = directions(vectors(1, 0, 192)) + 1e-5 * vectors(20_000, 1, 192)
    index.upsert(names(20_000), rows.astype(np.float32))
    wanted, _ = by_hand(names(20_000), rows.astype(np.float32), vectors(1, 0, 192)[0], 5)
    assert top(index, vectors(1, 0, 192)[0], 5) == wanted


def test_the_memory_of_the_process_does_not_grow_with_the_gallery(tmp_path):
    """Anonymous memory only: pages of files that are mapped can be dropped at any time."""
    with filled(100, tmp_path) as index:
        index.search(vectors(1), 1)
        before = anonymous_kib()
        for step in range(10):
            index.upsert(names(10_000, f"q{step}-"), vectors(10_000, step))
        index.search(vectors(1), 1)
        assert anonymous_kib() - before < 12_000  # vectors and codes of 100,000 take 12,000 in all


def anonymous_kib():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])
