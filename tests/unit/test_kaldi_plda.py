"""Kaldi's plda file byte by byte, its scores formula by formula, and its recipe as a back-end and back."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from speakerlab.backend.chain import Backend
from speakerlab.backend.cosine import Cosine
from speakerlab.backend.kaldi_recipe import from_kaldi, to_kaldi
from speakerlab.backend.plda import Plda
from speakerlab.backend.transforms import Centre, LengthNorm, Projection
from speakerlab.errors import DataError
from speakerlab.io import kaldi_plda
from speakerlab.io.ark import read_array
from speakerlab.types import EmbeddingTable

MEAN, TRANSFORM, PSI = np.array([1.5, -2.0]), np.array([[1.0, 0.25], [-0.5, 3.0]]), np.array([4.0, 0.5])

# As Plda::Write leaves it with --binary=true, by hand: the mark, a token and a blank; a vector: "DV ",
# the byte 4 and its size; a matrix: "DM ", rows and columns likewise; doubles in rows, little-endian.
BYTES = bytes.fromhex(
    "0042"  # "\0B"
    "3c506c64613e20"  # "<Plda> "
    "445620" "0402000000" "000000000000f83f" "00000000000000c0"  # "DV ", 2, 1.5, -2
    "444d20" "0402000000" "0402000000"  # "DM ", 2, 2
    "000000000000f03f" "000000000000d03f" "000000000000e0bf" "0000000000000840"  # 1, 0.25, -0.5, 3
    "445620" "0402000000" "0000000000001040" "000000000000e03f"  # "DV ", 2, 4, 0.5
    "3c2f506c64613e20"  # "</Plda> "
)  # fmt: skip


def test_the_file_is_read_as_kaldi_wrote_it(tmp_path):
    (tmp_path / "plda").write_bytes(BYTES)
    mean, transform, psi = kaldi_plda.read(tmp_path / "plda")
    assert mean.tolist() == MEAN.tolist()
    assert transform.tolist() == TRANSFORM.tolist()
    assert psi.tolist() == PSI.tolist()


def test_the_file_is_written_as_kaldi_writes_it(tmp_path):
    kaldi_plda.write(tmp_path / "plda", MEAN, TRANSFORM, PSI)
    assert (tmp_path / "plda").read_bytes() == BYTES


def test_single_precision_is_read(tmp_path):
    vector = b"FV \4" + struct.pack("<i", 1) + struct.pack("<f", 0.5)
    matrix = b"FM \4" + struct.pack("<i", 1) + b"\4" + struct.pack("<i", 1) + struct.pack("<f", 2.0)
    (tmp_path / "plda").write_bytes(b"\0B<Plda> " + vector + matrix + vector + b"</Plda> ")
    assert [array.tolist() for array in kaldi_plda.read(tmp_path / "plda")] == [[0.5], [[2.0]], [0.5]]


@pytest.mark.parametrize("size", range(0, len(BYTES), 7))
def test_a_file_cut_short_is_refused(tmp_path, size):
    (tmp_path / "plda").write_bytes(BYTES[:size])
    with pytest.raises(DataError, match=r"plda: (damaged Kaldi plda file|not Kaldi's plda file).*; write it"):
        kaldi_plda.read(tmp_path / "plda")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data + b"x", "1 bytes follow the end"),
        (lambda _: b"<Plda>  [ 1 2 ]", "is Kaldi's text form"),
        (lambda _: b"\0BFM ", "not Kaldi's plda file"),
        (lambda data: data.replace(b"DM ", b"DV "), "damaged Kaldi plda file"),
        (lambda data: data.replace(b"\4\2\0\0\0", b"\4\xff\xff\xff\xff", 1), "a dimension of -1 in 4 bytes"),
        (lambda data: data.replace(b"\4\2\0\0\0", b"\x08\2\0\0\0", 1), "a dimension of 2 in 8 bytes"),
        (lambda data: data.replace(b"\4\2\0\0\0", b"\4\xff\xff\xff\x7f", 1), "cut short"),
        (lambda data: data[:9] + b"DV \4\1\0\0\0" + bytes(8) + data[33:], "sizes do not fit"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, edit, message):
    (tmp_path / "plda").write_bytes(edit(BYTES))
    with pytest.raises(DataError, match=f"plda: .*{message}"):
        kaldi_plda.read(tmp_path / "plda")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(DataError, match="plda: cannot be read: No such file"):
        kaldi_plda.read(tmp_path / "plda")
    assert not kaldi_plda.is_plda(tmp_path / "plda")


def kaldi_transform(vector, num_examples, length_norm):
    """Plda::TransformIvector of ivector/plda.cc."""
    transformed = TRANSFORM @ vector - TRANSFORM @ MEAN
    if length_norm == "kaldi-simple":
        return transformed * np.sqrt(2) / np.linalg.norm(transformed)
    if length_norm == "kaldi":
        dot_prod = (1.0 / (PSI + 1.0 / num_examples)) @ transformed**2
        return transformed * np.sqrt(2 / dot_prod)
    return transformed


def kaldi_score(train, n, test):
    """Plda::LogLikelihoodRatio of ivector/plda.cc."""
    mean = n * PSI / (n * PSI + 1.0) * train
    variance = 1.0 + PSI / (n * PSI + 1.0)
    given = -0.5 * (np.log(variance).sum() + np.log(2 * np.pi) * 2 + ((test - mean) ** 2 / variance).sum())
    without = -0.5 * (np.log(1 + PSI).sum() + np.log(2 * np.pi) * 2 + (test**2 / (1 + PSI)).sum())
    return given - without


@pytest.mark.parametrize("length_norm", ["none", "kaldi", "kaldi-simple"])
def test_scores_are_kaldis(length_norm):
    rng = np.random.default_rng(0)
    models, tests, counts = rng.normal(size=(4, 2)), rng.normal(size=(5, 2)), [1, 2, 5, 30]
    plda = Plda(MEAN, TRANSFORM, PSI, "Kaldi", length_norm)
    scores = plda.enroll_factors(models, counts) @ plda.test_factors(tests).T
    expected = [
        [
            kaldi_score(kaldi_transform(model, n, length_norm), n, kaldi_transform(test, 1, length_norm))
            for test in tests
        ]
        for model, n in zip(models, counts, strict=True)
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-10)


def kaldi_recipe(vector, mean, transform):
    """ivector-subtract-global-mean, transform-vec (with an offset column), ivector-normalize-length."""
    moved = transform @ np.append(vector - mean, 1.0)
    return moved * np.sqrt(len(moved)) / np.linalg.norm(moved)


def test_kaldis_recipe_as_a_back_end_and_back():
    rng = np.random.default_rng(1)
    mean, transform = rng.normal(size=3), rng.normal(size=(2, 4))
    matrix = rng.normal(size=(6, 3)).astype(np.float32)
    table = EmbeddingTable(tuple("abcdef"), matrix)
    plda = Plda(MEAN, TRANSFORM, PSI, "Kaldi", "kaldi")
    backend = from_kaldi(plda, mean, transform, "exp/plda")
    expected = [kaldi_recipe(row.astype(np.float64), mean, transform) for row in matrix]
    np.testing.assert_allclose(backend.rows(table), expected, atol=1e-12)
    again_mean, again_transform, again_plda = to_kaldi(backend)
    np.testing.assert_allclose(again_mean, mean, atol=0)
    np.testing.assert_allclose(again_transform, transform, atol=1e-12)
    assert again_plda is plda


def test_a_recipe_without_mean_or_offset():
    plda = Plda(MEAN, TRANSFORM, PSI, "Kaldi", "kaldi")
    transform = np.arange(6.0).reshape(2, 3)
    backend = from_kaldi(plda, None, transform, "exp/plda")
    rows = backend.rows(EmbeddingTable(("a",), np.array([[1, 0, 0]], dtype=np.float32)))
    np.testing.assert_allclose(rows, [[0, np.sqrt(2)]], atol=1e-12)
    assert from_kaldi(plda, None, None, "exp/plda").dim == 2


def test_files_of_different_recipes_are_refused():
    plda = Plda(MEAN, TRANSFORM, PSI)
    with pytest.raises(DataError, match="the transform takes size 3, the mean has 5"):
        from_kaldi(plda, np.zeros(5), np.zeros((2, 3)), "exp/plda")
    with pytest.raises(DataError, match="takes size 2, what comes before leaves 3"):
        from_kaldi(plda, np.zeros(5), np.zeros((3, 5)), "exp/plda")


@pytest.mark.parametrize(
    "backend",
    [
        Backend.default(),
        Backend((Centre(MEAN), LengthNorm(2**0.5)), Cosine()),
        Backend((Centre(MEAN), LengthNorm(1.0)), Plda(MEAN, TRANSFORM, PSI)),
        Backend((Projection(TRANSFORM, "LDA to 2"), LengthNorm(2**0.5)), Plda(MEAN, TRANSFORM, PSI)),
        Backend((), Plda(MEAN, TRANSFORM, PSI)),
    ],
)
def test_what_kaldi_cannot_express_is_refused(backend):
    with pytest.raises(DataError, match="back-end: cannot be Kaldi's"):
        to_kaldi(backend)


def test_mean_and_transform_files(tmp_path):
    kaldi_plda.write_array(tmp_path / "mean.vec", MEAN)
    kaldi_plda.write_array(tmp_path / "transform.mat", TRANSFORM)
    assert (tmp_path / "mean.vec").read_bytes() == b"\0BDV \4\2\0\0\0" + struct.pack("<2d", *MEAN)
    assert read_array(tmp_path / "mean.vec", 1).tolist() == MEAN.tolist()
    assert read_array(tmp_path / "transform.mat", 2).tolist() == TRANSFORM.tolist()
    (tmp_path / "text.vec").write_text(" [ 1.5 -2 ]\n")
    assert read_array(tmp_path / "text.vec", 1).tolist() == MEAN.tolist()
    (tmp_path / "text.mat").write_text(" [\n  1 2\n  3 4 ]\n")
    assert read_array(tmp_path / "text.mat", 2).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged, or not a matrix or vector"),
        (b"\0BDV \4\2\0\0\0" + bytes(8), "damaged, or not a matrix or vector"),
        (b" [ 1 nan ]\n", "not a vector of finite numbers"),
        (b" [\n 1 2 ]\n", r"an array \(1, 2\), not a vector"),
    ],
)
def test_bad_vectors_are_refused(tmp_path, content, message):
    (tmp_path / "mean.vec").write_bytes(content)
    with pytest.raises(DataError, match=f"mean.vec: .*{message}"):
        read_array(tmp_path / "mean.vec", 1)
