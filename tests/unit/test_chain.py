"""The back-end as a chain and as a file: what it does, says, and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speakerlab.backend.chain import Backend
from speakerlab.backend.cosine import Cosine
from speakerlab.backend.transforms import LengthNorm, centre
from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable


def random_table(num, dim=16, seed=0):
    matrix = np.random.default_rng(seed).normal(0.5, 1, (num, dim)).astype(np.float32)
    return EmbeddingTable(tuple(f"u{row}" for row in range(num)), matrix, "embeddings.scp")


def cosine_backend(table):
    return Backend((centre(table.matrix.astype(np.float64)), LengthNorm()), Cosine(), "seven embeddings")


def test_mean_and_length():
    table = random_table(7)
    done = cosine_backend(table).transform(table)
    centred = table.matrix.astype(np.float64) - table.matrix.astype(np.float64).mean(axis=0)
    expected = centred / np.sqrt((centred**2).sum(axis=1))[:, None]
    assert (done.ids, done.name, done.matrix.dtype) == (table.ids, "embeddings.scp", np.float32)
    np.testing.assert_allclose(done.matrix, expected, atol=1e-7)


def test_the_default_subtracts_nothing():
    table = random_table(3)
    done = Backend.default().transform(table).matrix
    norms = np.linalg.norm(table.matrix, axis=1, keepdims=True)
    np.testing.assert_allclose(done, table.matrix / norms, atol=1e-6)
    assert Backend.default().describe() == "length normalised, cosine"


def test_the_file_holds_every_number_exactly(tmp_path):
    backend = cosine_backend(random_table(7))
    backend.save(tmp_path / "a" / "backend.json")
    again = Backend.load(tmp_path / "a" / "backend.json")
    assert again.transforms[0].mean.tolist() == backend.transforms[0].mean.tolist()
    assert (again.transforms[1], again.scorer, again.source) == (LengthNorm(), Cosine(), "seven embeddings")
    assert again.describe() == "mean subtracted, length normalised, cosine"


def test_the_same_back_end_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        cosine_backend(random_table(7)).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_zero_embedding_is_named():
    matrix = np.array([[1, 0], [0, 0], [0, 0]], dtype=np.float32)
    with pytest.raises(DataError, match=r"^scp: b is zero \(2 such embeddings\)"):
        Backend.default().transform(EmbeddingTable(("a", "b", "c"), matrix, "scp"))


def test_an_embedding_equal_to_the_mean_is_named():
    backend = Backend((centre(np.array([[1.0, 2.0]])), LengthNorm()), Cosine())
    table = EmbeddingTable(("a", "b"), np.array([[1, 0], [1, 2]], dtype=np.float32), "scp")
    with pytest.raises(DataError, match="scp: b is zero after: mean subtracted"):
        backend.transform(table)


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(DataError, match="embeddings.scp: 3-d embeddings but the back-end takes 16-d"):
        cosine_backend(random_table(4)).transform(random_table(4, dim=3))


def damaged(text, edit):
    card = json.loads(text)
    edit(card)
    return json.dumps(card)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:-40], "not a back-end file, or cut short"),
        (lambda _: "", "not a back-end file, or cut short"),
        (lambda _: "[]", "not a back-end file"),
        (lambda _: "{}", "not a back-end file"),
        (lambda _: '{"kind": "cosine", "mean": [1]}', "not a back-end file"),
        (lambda text: damaged(text, lambda c: c.update(format=9)), "has format 9, this version reads 1"),
        (lambda text: damaged(text, lambda c: c.update(content=[])), "is damaged"),
        (lambda text: damaged(text, lambda c: c["content"].pop("scorer")), "is damaged"),
        (lambda text: text.replace('"length": 1.0', '"length": 2.0'), "is damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, edit, message):
    path = tmp_path / "backend.json"
    cosine_backend(random_table(4)).save(path)
    path.write_text(edit(path.read_text()))
    with pytest.raises(DataError, match=f"backend.json: {message}.*; write it with") as caught:
        Backend.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none.json: cannot be read: No such file.*; write it with"):
        Backend.load(tmp_path / "none.json")
