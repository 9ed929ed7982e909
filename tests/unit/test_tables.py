"""Tables of a data dir: what is read, what is refused with file and line, and that writing reads back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerlab.data.faults import Faults
from speakerlab.data.lines import check_order, columns
from speakerlab.data.tables import (
    read_segments,
    read_trials,
    read_two_columns,
    read_utt2spk,
    read_wav_scp,
    write_table,
)
from speakerlab.data.trials import write_trials
from speakerlab.errors import DataError
from speakerlab.types import RecId, Recording, Segment, TrialList, UttId

RECORDINGS = {RecId("r"): Recording(RecId("r"), "/r.wav")}
# what may be in an id: no blank, no control character, nothing that is not UTF-8
IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp")), min_size=1).filter(
    lambda text: not text.startswith("\ufeff")
)
FEW = settings(max_examples=20, deadline=None)


def write(tmp_path: Path, content: str | bytes, name: str = "list") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def message(call, *args) -> str:
    with pytest.raises(DataError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- every table


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", ": empty file;"),
        (b"a 1\r\nb 2\r\n", ":1: Windows line end; run speakerlab.bin.fix_data"),
        (b"a 1\nb 2\r\n", ":2: Windows line end; run speakerlab.bin.fix_data"),
        (b"\xef\xbb\xbfa 1\n", ":1: byte-order mark; run speakerlab.bin.fix_data"),
        (b"a 1\n\xef\xbb\xbfb 2\n", ":2: byte-order mark; run speakerlab.bin.fix_data"),
        (b"a 1\nb \xff\n", ":2: not UTF-8 (byte 3); save the file as UTF-8"),
        ("a 1\n".encode("utf-16-le"), ":1: not UTF-8 (byte 2)"),
        ("a 1\n".encode("utf-16"), ":1: not UTF-8 (byte 1)"),
        (b"a 1\n\nb 2\n", ":2: blank line; run speakerlab.bin.fix_data"),
        (b"\n", ":1: blank line; run speakerlab.bin.fix_data"),
        (b"a 1\n b 2\n", ":2: the line starts with a blank; run speakerlab.bin.fix_data"),
        (b"a 1\nb\n", ":2: 'b' stands alone on its line;"),
        (b"a 1\nb 2\na 1\n", ":3: 'a' is on line 1 already; run speakerlab.bin.fix_data"),
        (b"a 1\nb 2\na 3\n", ":3: 'a' is on line 1 already, with another value; keep"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, fault):
    path = write(tmp_path, content)
    assert message(read_two_columns, path).startswith(f"{path}{fault}")


def test_a_missing_file_a_folder_and_a_pipe_are_one_line_errors(tmp_path):
    assert "No such file" in message(read_two_columns, tmp_path / "none")
    assert "is a folder or a pipe" in message(read_two_columns, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is a folder or a pipe" in message(read_trials, tmp_path / "pipe")


def test_tabs_and_trailing_blanks_separate_and_other_blanks_do_not(tmp_path):
    path = write(tmp_path, "a\t1  2 \nb \t /x/a\u3000b.wav")
    assert read_two_columns(path) == {"a": "1  2", "b": "/x/a\u3000b.wav"}


def test_faults_are_all_reported_and_the_rest_is_read(tmp_path):
    path, faults = write(tmp_path, b"\xef\xbb\xbfa 1\r\n\n b 2\r\nc\nb 2\nd \xff\n"), Faults()
    assert read_two_columns(path, faults) == {"a": "1", "b": "2"}
    assert len(faults) == 7


def test_only_the_first_twenty_of_a_kind_are_listed(tmp_path):
    faults = Faults()
    read_two_columns(write(tmp_path, "a 1\n" + "\n" * 30 + "b\n"), faults)
    listed = list(faults.lines())
    assert len(faults) == 31
    assert len(listed) == 20 + 1 + 1
    assert "... and 10 more; run" in listed[20]


def test_large_files_keep_their_line_numbers(tmp_path):
    rows = "".join(f"utterance-{i:07d} {'x' * 50}\n" for i in range(40_000))  # more than one block
    path = write(tmp_path, rows + "twice 1\ntwice 2\n")
    assert f"{path}:40002: 'twice' is on line 40001 already" in message(read_two_columns, path)


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(IDS, IDS.map(lambda text: f"{text} {text}"), min_size=1))
def test_written_tables_read_back_and_are_sorted_as_by_sort(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table")
        write_table(path, sorted(rows.items()))
        assert list(read_two_columns(path).items()) == sorted(rows.items())
        faults = Faults()
        check_order(path, faults)
        assert not len(faults)
        environment = {**os.environ, "LC_ALL": "C"}
        subprocess.run(["sort", "-c", "-s", "-t ", "-k1,1", path], check=True, env=environment)


@pytest.mark.parametrize(
    "row",
    [
        ("a b", "1"),
        ("", "1"),
        ("a", ""),
        ("a", "1\n2"),
        ("a", " 1"),
        ("a", "1\r"),
        ("\ufeffa", "1"),
        ("a", "\udcff"),
        ("a", "\0"),
    ],
)
def test_a_row_that_would_not_read_back_is_refused_and_nothing_is_written(tmp_path, row):
    assert f"{tmp_path}/t:2: cannot write" in message(write_table, tmp_path / "t", [("z", "1"), row])
    assert not list(tmp_path.iterdir())


@FEW
@given(st.binary() | st.text(st.sampled_from("ab01 \t\n\r-.|/\ufeff\u3000target")).map(str.encode))
def test_whatever_is_in_a_file_the_only_exception_is_a_data_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        readers = (read_wav_scp, read_utt2spk, read_two_columns, read_trials, lambda p: read_segments(p, {}))
        for read in readers:
            try:
                assert len(read(path)) > 0
            except DataError as error:
                place = str(error)
                assert place.startswith(str(path))
        read_trials(path, {"a"}, Faults())
        read_wav_scp(path, Faults())
        read_segments(path, {}, Faults())


# --- wav.scp


def test_wav_scp_keeps_pipes_and_makes_paths_absolute(tmp_path, monkeypatch):
    (tmp_path / "data/audio").mkdir(parents=True)
    (tmp_path / "cwd/other").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    lines = "a audio/x y.wav\nb sox in.wav -t wav - |\nc /far/c.wav\nd other/d.wav\ne nowhere/e.wav\n"
    sources = [r.source for r in read_wav_scp(write(tmp_path / "data", lines, "wav.scp")).values()]
    assert sources == [
        f"{tmp_path}/data/audio/x y.wav",
        "sox in.wav -t wav - |",
        "/far/c.wav",
        f"{tmp_path}/cwd/other/d.wav",
        f"{tmp_path}/data/nowhere/e.wav",
    ]


def test_a_path_is_looked_up_file_by_file_where_both_folders_have_its_top(tmp_path, monkeypatch):
    for file in ("data/audio/a.wav", "cwd/audio/b.wav", "cwd/c.wav", "data/d.wav"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path / "cwd")
    path = write(tmp_path / "data", "a audio/a.wav\nb audio/b.wav\nc c.wav\nd d.wav\n", "wav.scp")
    folders = [r.source.removeprefix(f"{tmp_path}/").split("/")[0] for r in read_wav_scp(path).values()]
    assert folders == ["data", "cwd", "cwd", "data"]


def test_a_name_too_long_for_a_file_is_just_a_missing_file(tmp_path):
    path = write(tmp_path, f"a {'command-without-pipe ' * 500}\n")
    assert read_wav_scp(path)[RecId("a")].source.startswith(f"{tmp_path}/command")


@pytest.mark.parametrize("name", ["a.wav", "audio/a.wav"])
def test_a_path_with_two_meanings_is_an_error_unless_it_is_one_file(tmp_path, monkeypatch, name):
    for folder in ("data", "cwd"):
        (tmp_path / folder / name).parent.mkdir(parents=True)
        (tmp_path / folder / name).touch()
    monkeypatch.chdir(tmp_path / "cwd")
    path = write(tmp_path / "data", f"a {name}\n", "wav.scp")
    assert f"{path}:1: {name} is in the data dir and in the working" in message(read_wav_scp, path)
    (tmp_path / "cwd" / name).unlink()
    (tmp_path / "cwd" / name).symlink_to(tmp_path / "data" / name)
    assert read_wav_scp(path)[RecId("a")].source == f"{tmp_path}/data/{name}"


# --- segments and utt2spk


def test_segments_are_read_with_kaldis_open_end(tmp_path):
    path = write(tmp_path, "u1 r 0 1.5\nu2\tr 1.5 -1\n")
    first, second = Segment(UttId("u1"), RecId("r"), 0.0, 1.5), Segment(UttId("u2"), RecId("r"), 1.5, None)
    assert read_segments(path, RECORDINGS) == [first, second]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("u r 0", "'u' needs a recording and two times"),
        ("u r 0 1 A", "'u' needs a recording and two times"),
        ("u r zero 1", "'u' needs a recording and two times"),
        ("u r -1 1", "'u' is from -1 to 1 s; times must satisfy"),
        ("u r 2 2", "'u' is from 2 to 2 s"),
        ("u r 2 1", "'u' is from 2 to 1 s"),
        ("u r 0 -0.5", "'u' is from 0 to -0.5 s"),
        ("u r nan 1", "'u' is from nan to 1 s"),
        ("u r 0 inf", "'u' is from 0 to inf s"),
        ("u q 0 1", "'u' is in 'q', which is not in wav.scp"),
    ],
)
def test_a_bad_segment_is_named(tmp_path, line, fault):
    path = write(tmp_path, f"t r 0 1\n{line}\n")
    assert message(read_segments, path, RECORDINGS).startswith(f"{path}:2: {fault}")


def test_an_utterance_with_two_speakers_is_refused(tmp_path):
    path = write(tmp_path, "u1 s1\nu2 s1 s2\n")
    assert message(read_utt2spk, path).startswith(f"{path}:2: 'u2' has more than one speaker")


# --- trials


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("a b target\na c nontarget\n", [1, 0]),
        ("a b 1\na\tc 0\n", [1, 0]),
        ("1 a b\n0 a c\n", [1, 0]),
        ("a b\na c\n", [-1, -1]),
        ("1 b target\n0 c nontarget\n", [1, 0]),  # ids that look like labels
        ("1 0 1\n1 b 0\nb 1 1\n", [1, 0, 1]),  # the third line says the label is last
        ("1 0 1\n1 0 b\n", [1, 1]),  # the second line says it is first
    ],
)
def test_every_form_of_trials_is_read(tmp_path, content, labels):
    trials = read_trials(write(tmp_path, content))
    assert trials.labels.dtype == np.int8
    assert trials.labels.tolist() == labels
    if content.startswith(("a", "1 a")):
        assert (list(trials.enroll_ids), list(trials.test_ids)) == (["a", "a"], ["b", "c"])


def test_the_ids_of_ambiguous_trials_are_read_by_the_form_found(tmp_path):
    last = read_trials(write(tmp_path, "1 0 1\n1 b 0\nb 1 1\n"))
    assert list(zip(last.enroll_ids, last.test_ids, strict=True)) == [("1", "0"), ("1", "b"), ("b", "1")]
    first = read_trials(write(tmp_path, "1 0 1\n1 0 b\n"))
    assert list(zip(first.enroll_ids, first.test_ids, strict=True)) == [("0", "1"), ("0", "b")]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", ": empty file"),
        ("a b target\na c 1\n", ":2: 'a c 1' does not fit 'a b target|nontarget', the form"),
        ("a b 1\na c\n", ":2: 'a c' does not fit 'a b 1|0'"),
        ("a b\na c target\n", ":2: 'a c target' does not fit 'a b'"),
        ("1 a b\na b 1\n", ":2: 'a b 1' does not fit '1|0 a b'"),
        ("a b c\na b target\n", ":1: 'a b c' does not fit"),
        ("a b c d\n", ":1: 'a b c d' does not fit"),
        ("a b Target\n", ":1: 'a b Target' does not fit"),
        ("1 0 1\n0 1 0\n", ": every line could have its label in the first or in the last column"),
        ("a b target\na c target\na b target\n", ":3: this pair is on line 1 already; run"),
        ("a b target\na c target\na b nontarget\n", ":3: this pair is on line 1 already, with another label"),
        ("a b target\r\n", ":1: Windows line end"),
        ("a b target\na c target\r\n", ":2: Windows line end"),
    ],
)
def test_bad_trials_are_named(tmp_path, content, fault):
    path = write(tmp_path, content)
    assert message(read_trials, path).startswith(f"{path}{fault}")


BLANKS = st.sampled_from([" ", " ", " ", "  ", "\t", " \v", "\f", "\r", "\x01", "\x1f"])


@FEW
@given(st.lists(st.lists(st.tuples(st.sampled_from(["a", "b\x02", "说"]), BLANKS), max_size=4), min_size=1))
def test_columns_are_those_of_the_lines(rows):
    """Whatever stands between and around the fields, and however many there are on each line."""
    lines = ["".join(field + blank for field, blank in row) for row in rows]
    for texts in (lines, [line.rstrip() for line in lines]):
        block = "\n".join(texts).encode()
        fields = [line.split() for line in block.split(b"\n")]
        even = all(len(row) == 3 for row in fields)
        assert columns(block, 3) == ([list(column) for column in zip(*fields, strict=True)] if even else None)


def test_a_field_too_many_does_not_make_up_for_one_too_few(tmp_path):
    path = write(tmp_path, "a b target\na c\na d target b\n")
    assert message(read_trials, path).startswith(f"{path}:2: 'a c' does not fit")


def test_a_pair_in_the_other_order_is_another_trial(tmp_path):
    assert len(read_trials(write(tmp_path, "a b target\nb a target\n"))) == 2


def test_a_trial_of_an_unknown_id_is_named_or_dropped(tmp_path):
    path, faults = write(tmp_path, "a b 1\na x 0\ny b 0\nb a 1\n"), Faults()
    assert f"{path}:2: 'x' is not an utterance" in message(read_trials, path, {"a", "b"})
    trials = read_trials(path, {"a", "b"}, faults)
    assert [line.split(":")[1] for line in faults.lines()] == ["2", "3"]
    assert [(t.enroll_id, t.test_id, t.is_target) for t in trials] == [("a", "b", True), ("b", "a", True)]


def test_repeated_trials_are_found_as_by_a_set(tmp_path):
    rng = np.random.default_rng(7)
    pairs = [tuple(pair) for pair in rng.integers(0, 40, (1000, 2)).tolist()]
    path, faults = write(tmp_path, "".join(f"u{a} u{b}\n" for a, b in pairs)), Faults()
    trials = read_trials(path, report=faults)
    expected = list(dict.fromkeys((f"u{a}", f"u{b}") for a, b in pairs))
    assert list(zip(trials.enroll_ids, trials.test_ids, strict=True)) == expected
    assert len(faults) == 1000 - len(expected)


def test_ids_of_trials_are_one_string_each(tmp_path):
    trials = read_trials(write(tmp_path, "".join(f"enroll{i % 3} test{i}\n" for i in range(9))))
    assert len({id(name) for name in trials.enroll_ids}) == 3


@FEW
@given(st.dictionaries(st.tuples(IDS, IDS), st.sampled_from([0, 1]), min_size=1), st.booleans())
def test_written_trials_read_back(pairs, known):
    labels = np.array(list(pairs.values()) if known else [-1] * len(pairs), dtype=np.int8)
    enroll_ids, test_ids = ([pair[side] for pair in pairs] for side in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trials")
        write_trials(path, TrialList(enroll_ids, test_ids, labels))
        again = read_trials(path)
    assert (list(again.enroll_ids), list(again.test_ids)) == (enroll_ids, test_ids)
    assert again.labels.tolist() == labels.tolist()


def test_partly_labelled_trials_are_not_written(tmp_path):
    trials = TrialList(["a", "a"], ["b", "c"], np.array([1, -1], dtype=np.int8))
    assert "1 of 2 trials have no label" in message(write_trials, tmp_path / "trials", trials)
