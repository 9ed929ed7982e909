"""Lists of people other than workbooks: CSV, JSON, folders, data dirs, files of vectors."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from conftest import RATE, toy_voice

from speakerlab.errors import AudioError, DataError
from speakerlab.io import audio
from speakerlab.types import Waveform
from speakerlab.voiceprint.records import Consent, Voiceprint
from speakerlab.voiceprint.sources import folder, listing, names_json, npz, table
from speakerlab.voiceprint.sources.table import Layout
from speakerlab.voiceprint.store import VoiceprintStore


def csv_file(path, text, encoding="utf-8"):
    path = path / "people.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_and_told(tmp_path, delimiter):
    rows = [["name", "note", "path"], ["徐泰志", "a,b;c|d", "a.wav"], ["Ann", "", "b c.wav"]]
    text = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    found = table.read_csv(csv_file(tmp_path, text), Layout(), "r")
    assert found.paths() == {"徐泰志": ["r/a.wav"], "Ann": ["r/b c.wav"]}
    name = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[delimiter]
    assert found.notes == [
        f"{tmp_path}/people.csv is read with the delimiter {name}; --delimiter names another"
    ]


def test_a_bom_and_other_encodings(tmp_path):
    text = "name,path\n徐泰志,a.wav\n"
    for encoding, asked in {"utf-8-sig": "utf-8", "big5": "big5", "utf-16": "utf-16"}.items():
        path = csv_file(tmp_path, text, encoding)
        assert table.read_csv(path, Layout(), "r", encoding=asked).paths() == {"徐泰志": ["r/a.wav"]}
    with pytest.raises(
        DataError, match=r"is not in utf-8: byte 10 .*give --encoding, such as gb18030 or big5"
    ):
        table.read_csv(csv_file(tmp_path, text, "big5"), Layout(), "r")
    with pytest.raises(DataError, match="there is no encoding 'klingon'"):
        table.read_csv(path, Layout(), "r", encoding="klingon")


def test_csv_that_is_none(tmp_path):
    for text, why in {
        "": "has no columns 'name' and 'path'",
        "who,path\n": "its first row, 'who,path', has no columns 'name' and 'path'; give --name-column",
        "name,path\n": "lists no recordings",
        'name,path\n"Ann,a.wav\n': "is no CSV: unexpected end of data",
        "name,path\n" + "x" * 200_000: "is no CSV: field larger than field limit",
    }.items():
        with pytest.raises(DataError) as stop:
            table.read_csv(csv_file(tmp_path, text), Layout(), "r")
        assert why in str(stop.value)
    short = csv_file(tmp_path, "name,path\nAnn\nBob,b.wav,more\n")
    found = table.read_csv(short, Layout(), "r")
    assert found.paths() == {"Bob": ["r/b.wav"]}
    assert [one.why for one in found.refused] == [f"{short}, row 2: the recording is empty"]


def test_nothing_of_a_list_reaches_the_terminal_as_a_command(tmp_path):
    text = 'name,path\nAnn,"a\n\x1b[2Jb.wav"\n"B\x1b[2Jo",b.wav\n,"c\x1b.wav"\n'
    found = table.read_csv(csv_file(tmp_path, text), Layout(), "r")
    assert found.items == []
    assert [one.recording for one in found.refused] == [r"a\n\x1b[2Jb.wav", "r/b.wav", r"c\x1b.wav"]
    assert all(part.isprintable() for one in found.refused for part in (one.name, one.recording, one.why))


def test_text_stays_text(tmp_path):
    """What pandas would take for no value, or for a number, is a name."""
    rows = ["NaN", "null", "NA", "12.0", "0012", "12345678901234567"]
    text = "name,path\n" + "".join(f"{name},{number}.wav\n" for number, name in enumerate(rows))
    assert list(table.read_csv(csv_file(tmp_path, text), Layout(), "r").paths()) == rows


def test_names_that_cannot_be_one(tmp_path):
    path = csv_file(tmp_path, f"name,path\n{'x' * 201},a.wav\n{'y' * 200},b.wav\nA\x07b,c.wav\n")
    found = table.read_csv(path, Layout(), "r")
    assert list(found.paths()) == ["y" * 200]
    assert all("cannot be a name; use 1 to 200 characters" in one.why for one in found.refused)
    assert len(found.refused) == 2


def test_limits(tmp_path, monkeypatch):
    path = csv_file(tmp_path, "name,path\n" + "Ann,a.wav\n" * 9)
    monkeypatch.setattr(listing, "MAX_RECORDINGS", 8)
    with pytest.raises(DataError, match="lists more than 8 recordings; split it"):
        table.read_csv(path, Layout(), "r")
    monkeypatch.setattr(table, "MAX_ROWS", 9)
    with pytest.raises(DataError, match="has more than 9 rows"):
        table.read_csv(path, Layout(), "r")
    monkeypatch.setattr(table, "MAX_CSV", 20)
    with pytest.raises(DataError, match="is larger than"):
        table.read_csv(path, Layout(), "r")


def test_json_goes_out_and_comes_back(tmp_path):
    first = table.read_csv(
        csv_file(tmp_path, "name,path\n徐泰志,a.wav\nAnn,b.wav\n徐泰志,c.wav\n"), Layout(), "."
    )
    path = tmp_path / "people.json"
    names_json.write(path, first)
    assert path.read_text(encoding="utf-8") == (
        '{\n    "徐泰志": [\n        "a.wav",\n        "c.wav"\n    ],\n'
        '    "Ann": [\n        "b.wav"\n    ]\n}'
    )
    again = names_json.read(path, "r")
    assert again.paths() == {"徐泰志": ["r/a.wav", "r/c.wav"], "Ann": ["r/b.wav"]}


def test_json_that_is_none(tmp_path):
    path = tmp_path / "people.json"
    for text, why in {
        "[]": "is no JSON object",
        "{": "is no JSON in UTF-8",
        "[" * 100_000: "is no JSON in UTF-8",
        "{}": "lists nobody",
        '{"Ann": "a.wav"}': "'Ann' has no list of paths",
        '{"Ann": {"a": 1}}': "'Ann' has no list of paths",
    }.items():
        path.write_text(text)
        with pytest.raises(DataError) as stop:
            names_json.read(path, "r")
        assert why in str(stop.value)
        assert "\n" not in str(stop.value)
    path.write_text('{"Ann": ["a.wav", 7, "../b.wav"], "Bob": [], "Ann": ["c.wav"]}')
    found = names_json.read(path, str(tmp_path))
    assert found.paths() == {"Ann": [f"{tmp_path}/a.wav", f"{tmp_path}/c.wav"]}
    assert [(one.name, one.why.partition(": ")[2]) for one in found.refused] == [
        ("Ann", "the recording is no text: 7"),
        (
            "Ann",
            f"{tmp_path}/../b.wav leads out of {tmp_path}; allow it with --allow-outside,"
            " or give another --root",
        ),
        ("Bob", "'Bob' has no recordings"),
    ]
    path.write_bytes('{"徐": ["a.wav"]}'.encode("big5"))
    with pytest.raises(DataError, match="is no JSON in UTF-8"):
        names_json.read(path, "r")


def sound(path, speaker=0, number=0):
    audio.write(path, Waveform(toy_voice(speaker, number, 0.5), RATE))
    return path


def test_a_folder_of_folders(tmp_path):
    root = tmp_path / "people"
    for name in (
        "徐泰志/record_1.wav",
        "\u0645\u06cc\u200c\u0622/x.wav",
        "徐泰志/day 2/record_2.flac",
        "Ann/a.WAV",
        "Ann/.hidden.wav",
        ".git/x.wav",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    (root / "Ann" / "notes.txt").write_text("x")
    (root / "Thumbs.db").write_text("x")
    (root / "stray.wav").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    sound(tmp_path / "elsewhere" / "secret.wav")
    (root / "Ann" / "link.wav").symlink_to(tmp_path / "elsewhere" / "secret.wav")
    (root / "Ann" / "inside.wav").symlink_to(root / "徐泰志" / "record_1.wav")
    (root / "Bob").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "Ann" / "pipe.wav")
    found = folder.folder(root)
    assert found.paths() == {
        "Ann": [f"{root}/Ann/{name}" for name in ("a.WAV", "inside.wav", "pipe.wav")],
        "\u0645\u06cc\u200c\u0622": [f"{root}/\u0645\u06cc\u200c\u0622/x.wav"],  # a joiner, as Persian has it
        "徐泰志": [f"{root}/徐泰志/record_1.wav", f"{root}/徐泰志/day 2/record_2.flac"],
    }
    assert [(one.recording, one.why) for one in found.refused] == [
        (f"{root}/Bob", "is a link to a folder, which is not followed"),
        (f"{root}/stray.wav", "lies beside the speakers' folders; put it into one"),
        (
            f"{root}/Ann/link.wav",
            f"leads out of {root}; allow it with --allow-outside, or give another --root",
        ),
    ]
    assert found.notes == [
        f"passed over 2 files whose suffix is not of audio: {root}/Thumbs.db, {root}/Ann/notes.txt"
    ]
    allowed = folder.folder(root, allow_outside=True)
    assert f"{root}/Ann/link.wav" in allowed.paths()["Ann"]
    pipe = next(one for one in found.items if one.source.origin.endswith("pipe.wav"))
    with pytest.raises(AudioError, match="is no regular file"):  # opened, it would wait for ever
        pipe.source.read()
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no recordings; it needs a folder for each speaker"):
        folder.folder(tmp_path / "none")


def test_file_names_that_are_no_text(tmp_path):
    for name in (b"B\xff/a.wav", b"Ann/\xe5.wav", b"Ann/\x1b[2J.wav", b"Ann/a\nb.txt", b"Ann/c.wav"):
        file = tmp_path / os.fsdecode(name)
        file.parent.mkdir(exist_ok=True)
        file.touch()
    found = folder.folder(tmp_path)
    assert found.paths() == {"Ann": [f"{tmp_path}/Ann/c.wav"]}
    assert [one.recording for one in found.refused] == [
        r"Ann/\x1b[2J.wav", r"Ann/\udce5.wav", r"B\udcff/a.wav",
    ]  # fmt: skip
    assert found.notes == [f"passed over 1 files whose suffix is not of audio: {tmp_path}/Ann/a\\nb.txt"]


def test_data_dirs_with_segments_and_commands(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    sound(path / "one.wav", 1)
    sound(path / "two.wav", 2)
    (path / "wav.scp").write_text(f"r1 one.wav\nr2 cat {path}/two.wav |\n")
    with pytest.raises(DataError, match="'r2' is a command; .*add --kind kaldi"):
        folder.data_dir(path, run_commands=False)
    with pytest.raises(DataError, match="has no utt2spk"):
        folder.data_dir(path, run_commands=True)
    (path / "segments").write_text("u1 r1 0.1 0.3\nu2 r1 0.2 -1\nu3 r2 0 0.25\n")
    (path / "utt2spk").write_text("u1 Ann\nu2 Bob\nu3 Ann\n")
    found = folder.data_dir(path, run_commands=True)
    assert found.paths() == {"Ann": [f"{path}: u1", f"{path}: u3"], "Bob": [f"{path}: u2"]}
    lengths = {one.source.origin[-2:]: len(one.source.read().samples) for one in found.items}
    assert lengths == {"u1": 3200, "u2": 4800, "u3": 4000}  # of 0.5 s at 16 kHz


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_vectors_are_read_by_name(tmp_path):
    feats = np.array([[0.6, 0.0], [0.0, 0.7]])
    path = saved(tmp_path / "a.npz", train_feats=feats, label=np.array(["徐泰志", "Ann"]))
    assert [(label, row.tolist()) for label, row in npz.read(path)] == [
        ("徐泰志", [0.6, 0]),
        ("Ann", [0, 0.7]),
    ]
    path = saved(
        tmp_path / "b.npz", label=np.array(["Zo\u00eb".encode(), b"Ann"]), train_feats=np.float32(feats)
    )
    assert [label for label, _ in npz.read(path)] == ["Zoë", "Ann"]


def test_vectors_that_are_none(tmp_path):
    names, good = np.array(["a", "b"]), np.ones((2, 3))
    path = tmp_path / "x.npz"
    for arrays, why in [
        ({"label": names}, "holds no train_feats; it holds label"),
        ({"label": np.array(["a", None], object), "train_feats": good}, "label cannot be read: .*pickle"),
        (
            {"label": names, "train_feats": np.array([[1], [2]], object)},
            "train_feats cannot be read: .*pickle",
        ),
        ({"label": names, "train_feats": np.ones(2)}, r"train_feats is float64 \(2,\), and no vector"),
        ({"label": names, "train_feats": np.ones((2, 3), int)}, "train_feats is int64"),
        ({"label": np.array([1, 2]), "train_feats": good}, "label is int64 .* no list of texts"),
        ({"label": names[:1], "train_feats": good}, "has 1 labels and 2 vectors"),
        ({"label": names[:0], "train_feats": good[:0]}, "has 0 labels and 0 vectors"),
        ({"label": names, "train_feats": np.ones((2, 20_000))}, "no vector for each label"),
    ]:
        with pytest.raises(DataError, match=why) as stop:
            npz.read(saved(path, **arrays))
        assert "\n" not in str(stop.value)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read as .npz"):
        npz.read(path)


def test_a_header_that_demands_terabytes_costs_nothing(tmp_path):
    path = saved(tmp_path / "x.npz", label=np.array(["a"]), train_feats=np.ones((1, 3)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 512)}
    )
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.npz", "w") as new:
        new.writestr("label.npy", old.read("label.npy"))
        new.writestr("train_feats.npy", header.getvalue())
    with pytest.raises(DataError, match="an array of 4,096,000,000,000 bytes, and 128 are there"):
        npz.read(tmp_path / "y.npz")


def test_rows_that_cannot_be_a_voiceprint_are_refused_alone(tmp_path):
    feats = np.array([[1.0, 0], [np.nan, 0], [0, 0], [1e300, 0], [0, 2.0], [3.0, 0]])
    labels = np.array(["Ann", "Bob", "Carl", "Dora", " ", "Ann "])
    found, vectors = npz.listed(saved(tmp_path / "x.npz", label=labels, train_feats=feats))
    assert [one.name for one in found.items] == ["Ann", "Ann"]
    assert [row.tolist() for row in vectors] == [[1, 0], [3, 0]]
    assert [one.name for one in found.refused] == ["Bob", "Carl", "Dora", ""]
    assert "length zero" in found.refused[1].why
    assert "cannot be a name" in found.refused[3].why
    assert found.notes == ["'Ann' and 'Ann ' are one person, 'Ann'"]


def test_people_are_written_as_means_of_unit_vectors(tmp_path):
    now = 1_800_000_000.0
    with VoiceprintStore.open(tmp_path / "p.db", clock=lambda: now) as store:

        def enrol(name, *rows, model="m", consent=None, review=()):
            clips = [
                Voiceprint(np.array(row, np.float32), model, "x", None, "net", consent=consent)
                for row in rows
            ]
            store.enrol(clips, name=name, review=review)

        enrol("Ann", [3, 4], [0, 2])  # (0.6, 0.8) and (0, 1): mean (0.3, 0.9)
        enrol("Ann", [1, 0], model="other")
        enrol("Bob", [1, 0], review=["noisy"])
        enrol("徐泰志", [-5, 0], consent=Consent("file", now - 1, now + 1))
        enrol("Carl", [0, 1], consent=Consent("file", now + 1))
        store.add_gallery("staff")
        store.join("staff", [store.find("徐泰志").speaker_id])
        path = tmp_path / "out.npz"
        assert npz.export(store, path, "m") == 2
        assert path.stat().st_mode & 0o777 == 0o600
        with np.load(path, allow_pickle=False) as told:
            assert told.files == ["label", "train_feats"]
            assert told["label"].tolist() == ["Ann", "徐泰志"]
            assert told["train_feats"].dtype == np.float64
            np.testing.assert_allclose(told["train_feats"], [[0.3, 0.9], [-1, 0]], rtol=0, atol=1e-15)
        with pytest.raises(DataError, match="exists already; name a new file"):
            npz.export(store, path, "m")
        path = tmp_path / "staff.npz"
        assert npz.export(store, path, "m", "staff") == 1
        told = [(one.action, one.gallery) for one in store.audit() if one.action == "export"]
        assert told == [("export", None), ("export", "staff")]
        path = tmp_path / "none.npz"
        with pytest.raises(DataError, match="nobody is enrolled with a model called 'nobody'"):
            npz.export(store, path, "nobody")
        with pytest.raises(DataError, match="2 models are called 'net'; give the content hash"):
            npz.export(store, path, "net")


def test_paths_of_a_listing_are_json(tmp_path):
    found = listing.Lister("/")
    found.add("Ann", "a.wav", "x")
    assert json.loads(json.dumps(found.listing.paths())) == {"Ann": ["/a.wav"]}
