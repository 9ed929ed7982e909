"""Archives against bytes written by hand from Kaldi's format, both ways, and against every kind of damage."""

import os
import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.io.ark import ArkWriter, FeatureTable, read_embeddings

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((7, 3))
VECTOR = RNG.standard_normal(5)


def matrix_bytes(array, kind):
    rows, cols = array.shape
    head = b"\0B" + kind + b"M " + b"\4" + struct.pack("<i", rows) + b"\4" + struct.pack("<i", cols)
    return head + array.astype("<f4" if kind == b"F" else "<f8").tobytes()


def vector_bytes(array, kind):
    head = b"\0B" + kind + b"V " + b"\4" + struct.pack("<i", len(array))
    return head + array.astype("<f4" if kind == b"F" else "<f8").tobytes()


def put(folder, entries, scp="feats.scp", ark="feats.ark"):
    """An archive of ready bytes by key, and its scp with absolute paths."""
    data, lines = b"", []
    for key, value in entries.items():
        data += key.encode() + b" "
        lines.append(f"{key} {folder / ark}:{len(data)}\n")
        data += value
    (folder / ark).write_bytes(data)
    (folder / scp).write_text("".join(lines))
    return folder / scp


def write(folder, keys):
    with ArkWriter(folder / "x.ark", folder / "x.scp") as writer:
        for key in keys:
            writer.write(key, VECTOR)


def test_binary_entries_come_back_exactly_and_in_file_order(tmp_path):
    scp = put(
        tmp_path,
        {
            "z-fm": matrix_bytes(MATRIX, b"F"),
            "a-dm": matrix_bytes(MATRIX, b"D"),
            "m-fv": vector_bytes(VECTOR, b"F"),
            "b-dv": vector_bytes(VECTOR, b"D"),
        },
    )
    table = FeatureTable(scp)
    assert list(table) == ["z-fm", "a-dm", "m-fv", "b-dv"]
    assert len(table) == 4
    assert "a-dm" in table
    assert "q" not in table
    for key, expected in (
        ("z-fm", MATRIX.astype("f")),
        ("a-dm", MATRIX),
        ("m-fv", VECTOR.astype("f")),
        ("b-dv", VECTOR),
    ):
        np.testing.assert_array_equal(table[key], expected)
        assert table[key].dtype == expected.dtype
    table["z-fm"][0, 0] = 1  # writable: torch.from_numpy wants it


def compressed_reference(codes, columns, low, span):
    """Kaldi's compressed-matrix.cc, number by number: codes [rows, cols] and four quantiles a column."""
    result = np.zeros(codes.shape)
    for c, quantiles in enumerate(columns):
        q0, q25, q75, q100 = (low + span * q / 65535 for q in quantiles)
        for r, code in enumerate(codes[:, c]):
            if code <= 64:
                result[r, c] = q0 + (q25 - q0) * code / 64
            elif code <= 192:
                result[r, c] = q25 + (q75 - q25) * (code - 64) / 128
            else:
                result[r, c] = q75 + (q100 - q75) * (code - 192) / 63
    return result


def test_compressed_matrices_decode_as_kaldi_defines(tmp_path):
    low, span, rows, cols = -4.0, 12.5, 9, 2
    head = struct.pack("<ffii", low, span, rows, cols)
    codes = RNG.integers(0, 256, (rows, cols), dtype=np.uint8)
    codes[:5, 0] = [0, 64, 65, 192, 193]
    codes[0, 1] = 255
    columns = [(0, 100, 30000, 65535), (500, 501, 40000, 50000)]
    words = RNG.integers(0, 65536, (rows, cols)).astype("<u2")
    entries = {
        "cm": b"\0BCM " + head + struct.pack("<8H", *columns[0], *columns[1]) + codes.T.tobytes(),
        "cm2": b"\0BCM2 " + head + words.tobytes(),
        "cm3": b"\0BCM3 " + head + codes.tobytes(),
    }
    table = FeatureTable(put(tmp_path, entries))
    np.testing.assert_allclose(table["cm"], compressed_reference(codes, columns, low, span), atol=5e-6)
    np.testing.assert_allclose(table["cm2"], low + span * words.astype(float) / 65535, atol=5e-6)
    np.testing.assert_allclose(table["cm3"], low + span * codes.astype(float) / 255, atol=5e-6)
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in table.values())


def test_text_archives(tmp_path):
    entries = {
        "m": b" [\n  1 0.5 -2e-3 \n  nan 5 inf ]\n",  # begins with an integer, as Kaldi prints 1.0
        "v": b" [ 1 0.25 3 ]\n",
        "one": b" [\n  7 ]\n",
    }
    table = FeatureTable(put(tmp_path, entries))
    np.testing.assert_array_equal(table["m"], np.array([[1, 0.5, -2e-3], [np.nan, 5, np.inf]], "f"))
    np.testing.assert_array_equal(table["v"], np.array([1, 0.25, 3], "f"))
    assert table["one"].shape == (1, 1)


def test_ranges_are_cut_with_both_ends(tmp_path):
    scp = put(tmp_path, {"u": matrix_bytes(MATRIX, b"D")})
    where = scp.read_text().split()[1]
    scp.write_text(f"rows {where}[1:3]\nboth {where}[0:9,1:2]\ncols {where}[,0:0]\nfar {where}[0:10]\n")
    table = FeatureTable(scp)
    np.testing.assert_array_equal(table["rows"], MATRIX[1:4])
    np.testing.assert_array_equal(table["both"], MATRIX[:, 1:])
    np.testing.assert_array_equal(table["cols"], MATRIX[:, :1])
    with pytest.raises(DataError, match=r"feats\.scp:4: far: .*range 0:10 of 7"):
        table["far"]


def test_writer_gives_the_bytes_of_kaldi(tmp_path):
    with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("utt-\u3000ä", MATRIX)
        writer.write("b", VECTOR.astype("f"))
        writer.write("t", MATRIX.astype("f").T)
    key = "utt-\u3000ä".encode() + b" "
    first, second, third = (
        matrix_bytes(MATRIX, b"F"),
        vector_bytes(VECTOR, b"F"),
        matrix_bytes(MATRIX.T, b"F"),
    )
    assert (tmp_path / "x.ark").read_bytes() == key + first + b"b " + second + b"t " + third
    ark = tmp_path / "x.ark"
    at = [len(key), len(key + first) + 2, len(key + first + second) + 4]
    assert (tmp_path / "x.scp").read_text(
        "utf-8"
    ) == f"utt-\u3000ä {ark}:{at[0]}\nb {ark}:{at[1]}\nt {ark}:{at[2]}\n"
    peer = kaldiio.load_scp(str(tmp_path / "x.scp"))
    np.testing.assert_array_equal(peer["t"], MATRIX.astype("f").T)
    table = FeatureTable(tmp_path / "x.scp")
    assert list(table) == ["utt-\u3000ä", "b", "t"]  # only ASCII blanks separate
    np.testing.assert_array_equal(table["b"], VECTOR.astype("f"))


def test_writer_publishes_both_or_nothing(tmp_path):
    with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("a", VECTOR)
        assert not list(tmp_path.glob("x.*"))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(before) == {"x.ark", "x.scp"}
    with pytest.raises(DataError, match="b is written twice"):
        write(tmp_path, ["b", "b"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_writer_renames_the_scp_last(tmp_path, monkeypatch):
    renamed = []
    replace = Path.replace

    def spy(self, target):
        renamed.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write(tmp_path, ["a"])
    assert renamed == ["x.ark", "x.scp"]


@pytest.mark.parametrize(
    ("key", "why"), [("a", "written twice"), ("a b", "not a key"), ("", "not a key"), ("b\n", "not a key")]
)
def test_writer_refuses_bad_keys(tmp_path, key, why):
    with pytest.raises(DataError, match=why):
        write(tmp_path, ["a", key])
    assert not list(tmp_path.iterdir())


def test_relative_and_moved_archives_are_found(tmp_path, monkeypatch):
    (tmp_path / "exp" / "parts").mkdir(parents=True)
    with ArkWriter(tmp_path / "exp/parts/x.ark", tmp_path / "exp/parts/x.scp") as writer:
        writer.write("a", VECTOR)
    offset = (tmp_path / "exp/parts/x.scp").read_text().rsplit(":")[1]
    (tmp_path / "exp/all.scp").write_text(f"a parts/x.ark:{offset}")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(FeatureTable(tmp_path / "exp/all.scp")["a"], VECTOR.astype("f"))
    merged = (tmp_path / "exp/parts/x.scp").read_text()
    (tmp_path / "exp/merged.scp").write_text(merged)
    (tmp_path / "exp").rename(tmp_path / "moved")
    for scp in ("moved/parts/x.scp", "moved/merged.scp"):
        np.testing.assert_array_equal(FeatureTable(tmp_path / scp)["a"], VECTOR.astype("f"))


def test_the_working_directory_comes_before_the_scp_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for folder, value in ((tmp_path, 1.0), (tmp_path / "data", 2.0)):
        (folder / "x.ark").write_bytes(b"a " + vector_bytes(np.array([value]), b"F"))
    (tmp_path / "data/x.scp").write_text("a x.ark:2\n")
    monkeypatch.chdir(tmp_path)
    assert FeatureTable("data/x.scp")["a"].tolist() == [1.0]
    monkeypatch.chdir("/")
    assert FeatureTable(tmp_path / "data/x.scp")["a"].tolist() == [2.0]


def test_paths_with_spaces_marks_and_windows_line_ends(tmp_path):
    folder = tmp_path / "a dir"
    folder.mkdir()
    put(folder, {"k": vector_bytes(VECTOR, b"F")})
    line = (folder / "feats.scp").read_text().replace("\n", "\r\n")
    (folder / "feats.scp").write_bytes(b"\xef\xbb\xbf" + line.encode())
    assert list(FeatureTable(folder / "feats.scp")) == ["k"]
    np.testing.assert_array_equal(FeatureTable(folder / "feats.scp")["k"], VECTOR.astype("f"))


class Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


GOOD_M, GOOD_V = matrix_bytes(MATRIX, b"F"), vector_bytes(VECTOR, b"F")


@pytest.mark.parametrize(
    "data",
    [
        GOOD_M[:-1], GOOD_M[:-4], GOOD_M[:12], GOOD_M[:5], GOOD_M[:2], GOOD_M[:1], b"",
        GOOD_V[:-1], GOOD_V[:-4], GOOD_V[:7],
        b"\0BCM " + struct.pack("<ffii", 0, 1, 4, 2) + b"\0" * 20,
        b"\0BCM2 " + struct.pack("<ffii", 0, 1, 4, 2) + b"\0" * 14,
        b"\0BFM \4" + struct.pack("<i", -1) + b"\4" + struct.pack("<i", 3) + b"\0" * 12,
        b"\0BFM \4" + struct.pack("<i", 2**30) + b"\4" + struct.pack("<i", 2**30),
        b"\0BXX \4\0\0\0\0", b"\0BFM \5\1\0\0\0", b"plain text\n",
        b" [ 1 2", b" [ 1 x ]\n", b" [\n 1 2\n 3 ]\n",
    ],
)  # fmt: skip
def test_damaged_archives_are_named_with_scp_line_and_ark(tmp_path, data):
    scp = put(tmp_path, {"fine": GOOD_V, "bad": data})
    table = FeatureTable(scp)
    assert table["fine"].shape == (5,)
    with pytest.raises(DataError, match=r"feats\.scp:2: bad: .*feats\.ark:\d+: damaged, or not") as caught:
        table["bad"]
    assert "\n" not in str(caught.value)


def test_pickles_are_not_loaded(tmp_path):
    scp = put(tmp_path, {"bad": b"PKL" + pickle.dumps(Trap(tmp_path / "sprung"))})
    with pytest.raises(DataError, match="damaged"):
        FeatureTable(scp)["bad"]
    assert not (tmp_path / "sprung").exists()


def test_missing_things_are_named(tmp_path):
    scp = put(tmp_path, {"a": GOOD_V})
    with pytest.raises(DataError, match=r"feats\.scp: no entry for utt9"):
        FeatureTable(scp)["utt9"]
    with pytest.raises(DataError, match=r"gone\.scp: cannot be read: No such file"):
        FeatureTable(tmp_path / "gone.scp")
    (tmp_path / "feats.ark").unlink()
    with pytest.raises(DataError, match=r"feats\.scp:1: a: .*feats\.ark:2: no such archive"):
        FeatureTable(scp)["a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "feats.scp: is empty"),
        ("a x.ark:1\nb\n", r"feats\.scp:2: must be a key and an archive entry"),
        ("a x.ark:1\n\n", r"feats\.scp:2: must be a key"),
        ("a x.ark:1\nb x.ark:2\na x.ark:3\n", r"feats\.scp:3: a appears twice"),
        ("a \udcff\udcfe\n", r"feats\.scp:1: not UTF-8"),
    ],
)
def test_bad_scp_files_are_named_when_opened(tmp_path, text, why):
    (tmp_path / "feats.scp").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=why):
        FeatureTable(tmp_path / "feats.scp")


def test_commands_are_refused_not_run(tmp_path):
    (tmp_path / "feats.scp").write_text(f"a touch {tmp_path}/ran |\n")
    with pytest.raises(DataError, match=r"feats\.scp:1: a: .*commands are refused"):
        FeatureTable(tmp_path / "feats.scp")["a"]
    assert not (tmp_path / "ran").exists()


def test_embeddings_of_either_shape(tmp_path):
    scp = put(tmp_path, {"b": vector_bytes(VECTOR, b"F"), "a": matrix_bytes(VECTOR[None] * 2, b"D")})
    table = read_embeddings(scp)
    assert table.ids == ("b", "a")
    assert table.matrix.dtype == np.float32
    np.testing.assert_allclose(table.matrix, [VECTOR, VECTOR * 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (vector_bytes(np.ones(4), b"F"), r"b has shape \(4,\), not that of one embedding, \[5\]"),
        (matrix_bytes(np.ones((5, 5)), b"F"), r"b has shape \(5, 5\)"),
        (vector_bytes(np.array([1, 2, np.nan, 4, 5]), b"F"), "b has NaN or Inf"),
    ],
)
def test_embeddings_that_do_not_fit_are_named(tmp_path, second, why):
    scp = put(tmp_path, {"a": GOOD_V, "b": second})
    with pytest.raises(DataError, match=rf"feats\.scp: {why}"):
        read_embeddings(scp)
