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


GOOD_M, GOOD_V = matrix_bytes(MATRIX, b"F"), vector_bytes(VECTOR, b"F")


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
    scp.write_text(
        f"u-rows {where}[1:3]\nu-both {where}[0:9,1:2]\nu-cols {where}[,0:0]\nu-far {where}[0:10]\n"
    )
    table = FeatureTable(scp)
    np.testing.assert_array_equal(table["u-rows"], MATRIX[1:4])
    np.testing.assert_array_equal(table["u-both"], MATRIX[:, 1:])
    np.testing.assert_array_equal(table["u-cols"], MATRIX[:, :1])
    with pytest.raises(DataError, match=r"feats\.scp:4: u-far: .*range 0:10 of 7"):
        table["u-far"]


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


def test_a_relative_path_with_two_meanings_is_refused(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for folder, value in ((tmp_path, 1.0), (tmp_path / "data", 2.0)):
        (folder / "x.ark").write_bytes(b"a " + vector_bytes(np.array([value]), b"F"))
    (tmp_path / "data/x.scp").write_text("a x.ark:2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"x\.scp:1: a: .*/data/x\.ark and .*/x\.ark are different files"):
        FeatureTable("data/x.scp")["a"]
    monkeypatch.chdir("/")
    assert FeatureTable(tmp_path / "data/x.scp")["a"].tolist() == [2.0]
    (tmp_path / "data/x.ark").unlink()
    monkeypatch.chdir(tmp_path)
    assert FeatureTable("data/x.scp")["a"].tolist() == [1.0]  # as in Kaldi


def archives_of_one_name(folder):
    """exp/train/x.ark and exp/test/x.ark, ids of one length: their offsets agree."""
    for part, value in (("train", 1.0), ("test", 2.0)):
        (folder / "exp" / part).mkdir(parents=True)
        with ArkWriter(folder / f"exp/{part}/x.ark", folder / f"exp/{part}/x.scp") as writer:
            for number in range(3):
                writer.write(f"{part:_<5}{number}", np.full(4, value + number / 10))
    lists = [(folder / f"exp/{part}/x.scp").read_text() for part in ("train", "test")]
    (folder / "exp/train/all.scp").write_text("".join(lists))


def test_of_two_archives_of_one_name_the_right_one_is_read(tmp_path):
    archives_of_one_name(tmp_path)
    (tmp_path / "exp").rename(tmp_path / "moved")
    table = FeatureTable(tmp_path / "moved/train/all.scp")
    assert [round(float(array[0]), 6) for array in table.values()] == [1.0, 1.1, 1.2, 2.0, 2.1, 2.2]
    (tmp_path / "moved/test").rename(tmp_path / "moved/elsewhere")
    table = FeatureTable(tmp_path / "moved/train/all.scp")
    assert table["train1"][0] == np.float32(1.1)
    with pytest.raises(DataError, match=r"all\.scp:5: test_1: .*exp/test/x\.ark.* is of 'train1'"):
        table["test_1"]


@pytest.mark.parametrize("value", [vector_bytes, matrix_bytes])
@pytest.mark.parametrize("last", [0.5, 9.0])  # as bytes these end in "?" and in "A", which an id may
def test_the_key_before_the_offset_is_compared(tmp_path, value, last):
    array = np.full((5, 2) if value is matrix_bytes else 5, last)
    entries = {f"spk1-utt{n}": value(array + n, b"F") for n in range(3)}
    scp = put(tmp_path, entries)
    offset = scp.read_text().split()[3].rpartition(":")[2]

    def read(key):
        (tmp_path / "other.scp").write_text(f"{key} {tmp_path}/feats.ark:{offset}\n")
        return float(FeatureTable(tmp_path / "other.scp")[key].flat[0])

    assert read("spk1-utt1") == last + 1
    assert read("sp0.9-spk1-utt1") == read("spk1-utt1-0000-0100") == last + 1  # copies under another id
    for key in ("spk1-utt2", "utt1", "1", "spk2-utt1", "spk1-utt11", "xspk1-utt1"):
        with pytest.raises(DataError, match=r"is of 'spk1-utt1'; restore the archive"):
            read(key)


def test_keys_are_found_behind_values_of_every_form(tmp_path):
    compressed = struct.pack("<ffii", 0, 1, 4, 2)
    values = {
        "fm": GOOD_M, "dm": matrix_bytes(MATRIX, b"D"), "fv": GOOD_V, "dv": vector_bytes(VECTOR, b"D"),
        "cm": b"\0BCM " + compressed + bytes(2 * 8 + 8), "cm2": b"\0BCM2 " + compressed + bytes(16),
        "cm3": b"\0BCM3 " + compressed + bytes(8), "ints": b"\0B\4" + struct.pack("<i", 3) + bytes(12),
        "text": b" [ 1 2 ]\n", "rows": b" [\n 1 2\n 3 4 ]\n",
        "wav": b"RIFF" + struct.pack("<I", 9) + bytes(9),
        "flac": b"AUDIO\1\5fLaC.", "word": b"yes\n", "end": GOOD_V,
    }  # fmt: skip
    put(tmp_path, values)
    offset = (tmp_path / "feats.scp").read_text().split()[-1].rpartition(":")[2]
    (tmp_path / "other.scp").write_text(f"copy-end {tmp_path}/feats.ark:{offset}\n")
    np.testing.assert_array_equal(FeatureTable(tmp_path / "other.scp")["copy-end"], VECTOR.astype("f"))


def test_a_text_archive_is_read_in_place_of_its_scp(tmp_path):
    (tmp_path / "xvector.txt").write_text("a  [ 1 2.5 ]\nb [ 3 4 ]\nm [\n  1 0.5\n  2 -1 ]\n")
    table = FeatureTable(tmp_path / "xvector.txt")
    assert list(table) == ["a", "b", "m"]
    assert table["a"].tolist() == [1, 2.5]
    assert table["m"].tolist() == [[1, 0.5], [2, -1]]
    (tmp_path / "xvector.txt").write_text("a [ 1 2.5 ]\nb [ 3 4 ]\na [ 1 2 ]\n")
    with pytest.raises(DataError, match=r"xvector\.txt:3: a appears twice"):
        FeatureTable(tmp_path / "xvector.txt")


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
