"""A data dir as a whole: each fault has its message, repair does what it says, parts add up to the whole."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerlab.data import holdout, subset
from speakerlab.data.combine import combine, with_prefix
from speakerlab.data.contents import Contents
from speakerlab.data.datadir import DataDir
from speakerlab.data.faults import REPAIR, Faults
from speakerlab.data.holdout import hold_out
from speakerlab.data.repair import repair
from speakerlab.data.trial_checks import check_overlap
from speakerlab.data.validate import validate
from speakerlab.errors import DataError
from speakerlab.io.ark import FeatureTable
from speakerlab.types import RecId, Recording, Segment, SpkId, TrialList, Utterance, UttId

UTTS = ("u1", "u2", "u3", "u4")
GOOD = {
    "wav.scp": "r1 audio/r1.wav\nr2 audio/r 2.wav\nr3 cat far.wav |\n",
    "segments": "u1 r1 0.0 2.0\nu2 r1 2.0 -1\nu3 r2 0 3.5\nu4 r3 0 -1\n",
    "utt2spk": "u1 s1\nu2 s1\nu3 s2\nu4 s3\n",
    "spk2gender": "s1 f\ns2 m\ns3 u\n",
    "feats.scp": "".join(f"{u} feats.ark:{3 + 9 * i}\n" for i, u in enumerate(UTTS)),
    "vad.scp": "".join(f"{u} vad.ark:{3 + 9 * i}\n" for i, u in enumerate(UTTS)),
    "utt2dur": "u1 2.0\nu2 2.0\nu3 3.5\nu4 9\n",
    "reco2dur": "r1 4.0\nr2 3.5\nr3 9\n",
    "trials": "u1 u2 target\nu1 u3 nontarget\n",
    "trials_cross": "1 u1 u2\n0 u1 u4\n",
}
# file, its content in place of the good one, and the fault this is; {d} is the data dir
FAULTS = [
    ("wav.scp", None, "wav.scp: cannot be read: No such file or directory; make it"),
    ("wav.scp", "", "wav.scp: empty file;"),
    ("wav.scp", GOOD["wav.scp"].replace("\n", "\r\n"), "wav.scp:1: Windows line end; run"),
    ("wav.scp", "\ufeff" + GOOD["wav.scp"], "wav.scp:1: byte-order mark; run"),
    ("wav.scp", "r2 audio/r 2.wav\nr1 audio/r1.wav\nr3 b |\n", "wav.scp:2: not in bytewise order"),
    ("wav.scp", GOOD["wav.scp"] + "r3 cat far.wav |\n", "wav.scp:4: 'r3' is on line 3 already; run"),
    ("wav.scp", GOOD["wav.scp"] + "r3 cat other.wav |\n", "wav.scp:4: 'r3' is on line 3 already, with"),
    ("wav.scp", GOOD["wav.scp"].replace("r1.wav", "r9.wav"), "wav.scp:1: 'r1': there is no file {d}/aud"),
    ("wav.scp", "r1 " + "long" * 99 + GOOD["wav.scp"][15:], "wav.scp:1: 'r1': there is no file {d}/long"),
    ("segments", "", "segments: empty file;"),
    ("segments", GOOD["segments"].replace("0.0 2.0", "-1 2.0"), "segments:1: 'u1' is from -1 to 2.0 s;"),
    ("segments", GOOD["segments"].replace("0.0 2.0", "2.0 1"), "segments:1: 'u1' is from 2.0 to 1 s;"),
    ("segments", GOOD["segments"].replace("0 3.5", "0 4.1"), "segments:3: 'u3' is from 0.0 to 4.1 s of"),
    ("segments", GOOD["segments"].replace("2.0 -1", "4.0 -1"), "segments:2: 'u2' is from 4.0 to 4.0 s of"),
    ("segments", GOOD["segments"].replace("r3", "r9"), "segments:4: 'u4' is in 'r9', which is"),
    ("utt2spk", GOOD["utt2spk"].replace("u2 s1\n", ""), "segments:2: utterance 'u2' has no speaker in"),
    ("utt2spk", GOOD["utt2spk"] + "u5 s1\n", "utt2spk:5: there is no utterance 'u5' in segments; run"),
    ("utt2spk", GOOD["utt2spk"].replace("\n", " \n\n", 1), "utt2spk:2: blank line; run"),
    ("utt2spk", GOOD["utt2spk"].replace("u4", " u4"), "utt2spk:4: the line starts with a blank; run"),
    ("utt2spk", GOOD["utt2spk"] + "u4 s1\n", "utt2spk:5: 'u4' is on line 4 already, with another value"),
    ("utt2spk", "u1 s1\nu2 s1\nu4 s3\nu3 s2\n", "utt2spk:4: not in bytewise order (LC_ALL=C sort): 'u3'"),
    (
        "spk2utt",
        "s1 u1\ns2 u3\ns3 u4\n",
        "spk2utt:1: 's1' and 'u2' belong together here or in utt2spk, not in both",
    ),
    ("spk2utt", "s1 u1 u2\ns2 u3\ns3 u4\ns4 u4\n", "spk2utt:4: 's4' and 'u4' belong together here or in"),
    ("spk2gender", GOOD["spk2gender"].replace("m", "male"), "spk2gender:2: 's2' has 'male'; write m, f"),
    ("spk2gender", GOOD["spk2gender"] + "s9 m\n", "spk2gender:4: there is no speaker 's9' in this data dir"),
    ("feats.scp", GOOD["feats.scp"] + "u5 feats.ark:9\n", "feats.scp:5: there is no utterance 'u5' in this"),
    ("feats.scp", GOOD["feats.scp"][:-16], "feats.scp: utterance 'u4' has no line here; make"),
    (
        "feats.scp",
        GOOD["feats.scp"].replace(":3\n", ":12\n"),
        "feats.scp:1: 'u1': {d}/feats.ark:12: the value at",
    ),
    ("vad.scp", GOOD["vad.scp"].replace("vad.ark", "gone.ark"), "vad.scp:1: 'u1': gone.ark cannot be read"),
    ("vad.scp", GOOD["vad.scp"][:-14], "vad.scp: utterance 'u4' has no line here; make"),
    ("utt2dur", GOOD["utt2dur"].replace("9", "nine"), "utt2dur:4: 'u4' has 'nine'; write a length in"),
    ("utt2dur", GOOD["utt2dur"].replace("9", "nan"), "utt2dur:4: 'u4' has 'nan'; write a length in"),
    ("utt2dur", GOOD["utt2dur"].replace("9", "0"), "utt2dur:4: 'u4' has '0'; write a length in"),
    ("reco2dur", "r1 4.0\nr2 3.5\n", "reco2dur: recording 'r3' has no line here;"),
    ("trials", "", "trials: empty file;"),
    ("trials", GOOD["trials"] + "u1 u9 target\n", "trials:3: 'u9' is not an utterance of"),
    ("trials", GOOD["trials"] + "u1 u2 target\n", "trials:3: this pair is on line 1 already; run"),
    ("trials", GOOD["trials"] + "u1 u2 nontarget\n", "trials:3: this pair is on line 1 already, with"),
    (
        "trials",
        "m1 u2 target\nu9 u2 target\n",
        "trials:1: neither 'm1' nor another enrolment id is an utterance",
    ),
    (
        "trials",
        GOOD["trials"] + "u2 u4 target\n",
        "trials:3: 'u2' and 'u4' are of two speakers in utt2spk, and",
    ),
    (
        "trials",
        GOOD["trials"] + "u2 u1 nontarget\n",
        "trials:3: 'u2' and 'u1' are of one speaker in utt2spk, and",
    ),
    ("trials", GOOD["trials"] + "u3 u3 target\n", "trials:3: 'u3' is compared with itself; delete"),
    ("trials", GOOD["trials"] + "u2 u3 0\n", "trials:3: 'u2 u3 0' does not fit 'a b target|nontarget'"),
    ("trials_cross", GOOD["trials_cross"] + "u2 u3\r\n", "trials_cross:3: Windows line end; run"),
]
ONLY_VALIDATED = (
    "belong together",
    "in utt2spk, and",
    "with itself",
    "there is no file",
    "the value at",
    "gone.ark",
    " s of",
    "not in bytewise",
)  # not for load to find


def make(folder: Path, changes: dict[str, str | None] | None = None) -> Path:
    """The good data dir in ``folder`` with ``changes``; audio files are there and empty, archives in text."""
    (folder / "audio").mkdir(parents=True)
    for name in ("r1.wav", "r 2.wav"):
        (folder / "audio" / name).touch()
    for name in ("feats.ark", "vad.ark"):
        (folder / name).write_text("".join(f"{u} [ {i} ]\n" for i, u in enumerate(UTTS)))
    for name, content in {**GOOD, **(changes or {})}.items():
        if content is not None:
            (folder / name).write_bytes(content.encode())
    return folder


def lists(contents: Contents) -> dict[str, object]:
    """All that ``contents`` says, to compare."""
    trials = {
        n: (list(t.enroll_ids), list(t.test_ids), t.labels.tolist()) for n, t in contents.trials.items()
    }
    data = contents.data
    return {
        "r": data.recordings,
        "u": data.utterances,
        "t": contents.tables,
        "l": trials,
        "d": contents.domain,
        "m": contents.models,
    }


def faults_of(folder: Path, **needs: bool) -> list[str]:
    faults = Faults()
    validate(folder, faults, **needs)
    return list(faults.lines())


# --- faults


def test_a_good_data_dir_has_no_fault(tmp_path):
    assert faults_of(make(tmp_path / "kaldi", {"spk2utt": "s1 u2 u1\ns2 u3\ns3 u4\n"})) == []
    assert faults_of(make(tmp_path / "d"), need_speakers=True, need_trials=True) == []


@pytest.mark.parametrize(("name", "content", "fault"), FAULTS)
def test_each_fault_is_found_once_and_what_its_message_promises_is_true(tmp_path, name, content, fault):
    folder, fault = make(tmp_path / "d", {name: content}), f"{{d}}/{fault}".format(d=tmp_path / "d")
    listed = faults_of(folder)
    assert listed[0].startswith(fault)
    # a line that does not fit the list it is in, or contradicts both a line and utt2spk, has two faults
    assert len(listed) == 1 + any(line in (content or "") for line in ("u2 u3\r", "u1 u2 nontarget"))
    if any(words in fault for words in ONLY_VALIDATED):
        assert Contents.load(folder).data.utt_ids == UTTS
    else:
        with pytest.raises(DataError) as caught:
            Contents.load(folder)
        assert str(caught.value) == listed[0]
    if all(REPAIR in line for line in listed) and "there is no file" not in fault:
        repair(folder, tmp_path / "out")
        assert faults_of(tmp_path / "out") == []
    elif not any(words in fault for words in ONLY_VALIDATED):
        with pytest.raises(DataError):
            repair(folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_all_faults_are_listed_together(tmp_path):
    changes = {
        "wav.scp": GOOD["wav.scp"].replace("r1.wav", "r9.wav"),
        "utt2spk": GOOD["utt2spk"].replace("\n", "\r\n") + "u5 s1\r\n",
        "trials": GOOD["trials"] + "u1 u9 target\nu1\n",
    }
    assert len(faults_of(make(tmp_path / "d", changes))) == 5


def test_speakers_and_trials_are_faults_only_where_needed(tmp_path):
    without = dict.fromkeys(("utt2spk", "spk2gender", "trials", "trials_cross"))
    folder = make(tmp_path / "d", without)
    assert faults_of(folder) == []
    assert [line.split(": ")[0] for line in faults_of(folder, need_speakers=True, need_trials=True)] == [
        f"{folder}/utt2spk",
        f"{folder}/trials",
    ]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no such data dir"):
        DataDir.load(tmp_path / "none")


# --- loading


def test_loading_sorts_and_joins(tmp_path):
    folder = make(tmp_path / "d", {"utt2spk": "u3 s2\nu1 s1\nu4 s3\nu2 s1\n"})
    data = DataDir.load(folder)
    assert data.utt_ids == UTTS
    assert data.spk2utt() == {"s1": ["u1", "u2"], "s2": ["u3"], "s3": ["u4"]}
    assert data.utterances[1] == Utterance(Segment(UttId("u2"), RecId("r1"), 2.0), SpkId("s1"))
    assert data.recordings[RecId("r2")].source == f"{folder}/audio/r 2.wav"
    assert data.table("utt2dur")["u3"] == "3.5"


def test_without_segments_each_recording_is_an_utterance(tmp_path):
    (tmp_path / "wav.scp").write_text("b /b.wav\na /a.wav\n")
    data = DataDir.load(tmp_path)
    assert [u.segment for u in data.utterances] == [Segment(UttId(i), RecId(i)) for i in "ab"]
    assert list(data.recordings) == ["a", "b"]
    assert data.spk2utt() == {}


def test_trial_lists_have_no_dot_in_their_names(tmp_path):
    folder = make(tmp_path / "d")
    for name in ("trials.kaldi", "trials_cross.old", "mytrials", ".trials_x.1.tmp"):
        (folder / name).touch()
    (folder / "trials_folder").mkdir()
    assert [file.name for file in DataDir.load(folder).trial_lists()] == ["trials", "trials_cross"]


# --- models of several utterances


MODELS = {"enroll.map": "m1 u1 u2\nm3 u3\n", "trials": "m1 u4 nontarget\nm3 u4 nontarget\n"}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("enroll.map", "m1 u1 u2 u1\nm3 u3\n", "enroll.map:1: model m1 has an utterance twice"),
        ("enroll.map", "m1 u1 u2\nm3 u9\n", "enroll.map:2: model 'm3' has 'u9', which is not an utterance"),
        ("enroll.map", "m1 u1 u2\nm3 u3\nu1 u2\n", "enroll.map:3: model 'u1' has the id of an utterance"),
        ("enroll.map", "m1 u1 u2 u3\nm3 u3\n", "enroll.map:1: model 'm1' has utterances of 's1' and of 's2'"),
        ("enroll.map", "m1 u1 u2\n", "trials:2: 'm3' is no model of enroll.map; add it there"),
        ("enroll.map", "m1 u1 u4\nm3 u3\n", "enroll.map:1: model 'm1' has utterances of 's1' and of 's3'"),
        (
            "trials",
            "m1 u1 target\nm3 u4 nontarget\n",
            "trials:1: the model 'm1' is compared with 'u1', a part",
        ),
        (
            "trials",
            "m1 u3 target\nm3 u4 nontarget\n",
            "trials:1: 'm1' and 'u3' are of two speakers in utt2spk",
        ),
        (
            "trials",
            "m1 u4 nontarget\nu1 u4 nontarget\n",
            "trials: enrolment ids are models of enroll.map on some",
        ),
    ],
)
def test_faults_of_models_are_named(tmp_path, name, content, fault):
    folder = make(tmp_path / "d", MODELS)
    assert faults_of(folder, need_trials=True) == []
    (folder / name).write_text(content)
    assert any(line.startswith(f"{folder}/{fault}") for line in faults_of(folder))
    assert not any("drop" in line for line in faults_of(folder))  # nothing here is repaired by deleting it


def test_models_follow_their_utterances_and_are_never_repaired_away(tmp_path):
    contents = Contents.load(make(tmp_path / "d", MODELS))
    assert contents.models == {"m1": ("u1", "u2"), "m3": ("u3",)}
    some = subset.of_utterances(contents, {"u1", "u3", "u4"})
    assert some.models == {"m3": ("u3",)}
    assert list(some.trials["trials"].enroll_ids) == ["m3"]
    assert all(not part.models and not part.trials for part in subset.split(contents, 2))
    both = combine([with_prefix(contents, "a-"), contents])
    both.write(tmp_path / "both")
    assert Contents.load(tmp_path / "both").models["a-m1"] == ("a-u1", "a-u2")
    assert len(Contents.load(tmp_path / "both").trials["trials"]) == 4
    other = replace(with_prefix(contents, "b-"), models={"m1": ("b-u2",)}, trials={})
    with pytest.raises(DataError, match=r"enroll\.map: 'm1' differs in a data dir before"):
        combine([contents, other])
    repair(tmp_path / "d", tmp_path / "fixed")
    assert lists(Contents.load(tmp_path / "fixed")) == lists(contents)
    (tmp_path / "d/feats.scp").write_text(GOOD["feats.scp"].replace("u2 feats.ark:12\n", ""))
    with pytest.raises(DataError, match=r"enroll\.map: model 'm1' has an utterance that must be left out"):
        repair(tmp_path / "d", tmp_path / "fixed2")
    assert not (tmp_path / "fixed2").exists()


def test_what_a_test_shares_with_training(tmp_path):
    folder = make(tmp_path / "test")
    train = make(tmp_path / "train", dict.fromkeys(GOOD) | {
        "wav.scp": f"r1 {tmp_path}/other.wav\ny {folder}/../test/audio/r 2.wav\n", "utt2spk": "r1 s1\ny s9\n"
    })  # fmt: skip
    faults, warnings = Faults(), Faults()
    check_overlap(Contents.load(folder), DataDir.load(train), faults, warnings)
    assert [line.split(";")[0] for line in faults.lines()] == [
        f"{folder}/wav.scp:2: the recording 'r2' is in {train}/wav.scp too"
    ]
    assert [line.split(";")[0] for line in warnings.lines()] == [
        f"{folder}/wav.scp:1: the recording 'r1' is in {train}/wav.scp too, as another file",
        f"{folder}/utt2spk:1: the speaker 's1' is in {train}/utt2spk too",
    ]


# --- repair


def test_repair_drops_utterances_with_all_that_refers_to_them_and_counts(tmp_path):
    changes = {"segments": GOOD["segments"].replace("r1 2.0", "r9 2.0"), "feats.scp": GOOD["feats.scp"][:-16]}
    folder = make(tmp_path / "d", changes)
    faults = repair(folder, tmp_path / "out")
    assert len(faults) == 2
    out = Contents.load(tmp_path / "out")
    assert out.data.utt_ids == ("u1", "u3")
    assert list(out.data.recordings) == ["r1", "r2"]
    assert {name: list(rows) for name, rows in out.tables.items()} == {
        "feats.scp": ["u1", "u3"],
        "vad.scp": ["u1", "u3"],
        "utt2dur": ["u1", "u3"],
        "reco2dur": ["r1", "r2"],
        "spk2gender": ["s1", "s2"],
    }
    assert {name: len(trials) for name, trials in out.trials.items()} == {"trials": 1}
    assert lists(Contents.load(make(tmp_path / "d2")))["u"][0] == out.data.utterances[0]


def test_repair_of_a_good_data_dir_changes_nothing(tmp_path):
    folder = make(tmp_path / "d")
    assert len(repair(folder, tmp_path / "out")) == 0
    assert lists(Contents.load(tmp_path / "out")) == lists(Contents.load(folder))


def test_repair_leaves_no_empty_data_dir(tmp_path):
    folder = make(tmp_path / "d", {"segments": "u1 r9 0 1\n"})
    with pytest.raises(DataError, match="no utterance would be left"):
        repair(folder, tmp_path / "out")


# --- writing


def test_an_older_data_dir_is_replaced_and_other_files_stay(tmp_path):
    out = make(tmp_path / "out")
    (out / "notes").write_text("mine")
    (out / "spk2utt").touch()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/wav.scp").write_text("a /a.wav\n")
    Contents.load(tmp_path / "plain").write(out)
    assert sorted(file.name for file in out.iterdir()) == [
        "audio",
        "feats.ark",
        "notes",
        "vad.ark",
        "wav.scp",
    ]


def test_a_killed_write_leaves_no_data_dir(tmp_path):
    contents = Contents.load(make(tmp_path / "d"))
    out = make(tmp_path / "out")
    unwritable = Utterance(Segment(UttId("two words"), RecId("r1")), SpkId("s1"))
    broken = replace(contents.data, utterances=(*contents.data.utterances[:3], unwritable))
    with pytest.raises(DataError, match="cannot write"):
        replace(contents, data=broken).write(out)
    assert not (out / "wav.scp").exists()


def test_the_input_is_never_the_output(tmp_path):
    folder = make(tmp_path / "d")
    with pytest.raises(DataError, match="given twice"):
        Contents.load(folder).write(tmp_path / "d" / ".." / "d")
    assert faults_of(folder) == []


def test_archives_beside_the_data_dir_are_found_from_its_copy(tmp_path, monkeypatch):
    scp = "u1 feats.ark:0\nu2 moved/away.ark:7[0:9]\nu3 here.ark:1\nu4 nowhere.ark\n"
    folder = make(tmp_path / "d", {"feats.scp": scp})
    for name in ("d/feats.ark", "d/away.ark", "here.ark"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert list(Contents.load(folder).tables["feats.scp"].values()) == [
        f"{folder}/feats.ark:0",
        f"{folder}/away.ark:7[0:9]",
        f"{tmp_path}/here.ark:1",
        "nowhere.ark",
    ]


IDS = st.text("abcXYZ019-_é語", min_size=1, max_size=6)


@st.composite
def contents_of_any_kind(draw) -> Contents:
    rec_ids = sorted(draw(st.sets(IDS, min_size=1, max_size=4)))
    recordings = {RecId(r): Recording(RecId(r), f"/audio/{r} .wav") for r in rec_ids}
    has_speakers = draw(st.booleans())
    utterances = []
    for utt_id in sorted(draw(st.sets(IDS, min_size=2, max_size=8))):
        start_s = draw(st.floats(0, 1e4))
        end_s = draw(st.none() | st.floats(start_s, 2e4, exclude_min=True))
        segment = Segment(UttId(utt_id), RecId(draw(st.sampled_from(rec_ids))), start_s, end_s)
        utterances.append(Utterance(segment, SpkId(draw(IDS)) if has_speakers else None))
    used = {u.segment.rec_id for u in utterances}
    data = DataDir(Path("nowhere"), {r: recordings[r] for r in sorted(used)}, tuple(utterances))
    tables = {"utt2dur": {u: f"{i + 1}.5" for i, u in enumerate(data.utt_ids)}}
    pairs = draw(st.sets(st.tuples(*[st.sampled_from(data.utt_ids)] * 2), max_size=5))
    trials = {}
    if pairs:
        enroll_ids, test_ids = map(list, zip(*sorted(pairs), strict=True))
        trials["trials_x"] = TrialList(enroll_ids, test_ids, np.arange(len(pairs), dtype=np.int8) % 2)
    return Contents(data, tables, trials, draw(st.none() | st.just("synthetic speech")))


@settings(max_examples=10, deadline=None)
@given(contents_of_any_kind())
def test_written_contents_read_back(contents):
    with tempfile.TemporaryDirectory() as folder:
        contents.write(Path(folder, "out"))
        assert lists(Contents.load(Path(folder, "out"))) == lists(contents)


# --- subsets, splits, combinations


@settings(max_examples=50, deadline=None)
@given(contents_of_any_kind(), st.randoms(use_true_random=False))
def test_a_subset_of_a_subset_is_the_subset_of_both(contents, random):
    first, second = (set(random.sample(contents.data.utt_ids, 1)) | {contents.data.utt_ids[0]} for _ in "ab")
    twice = subset.of_utterances(subset.of_utterances(contents, first), second & first)
    assert lists(twice) == lists(subset.of_utterances(contents, first & second))
    assert lists(subset.of_utterances(contents, contents.data.utt_ids)) == lists(contents)


@settings(max_examples=50, deadline=None)
@given(contents_of_any_kind(), st.data())
def test_the_parts_of_a_split_are_equal_and_combine_to_the_whole(contents, data):
    num_parts = data.draw(st.integers(1, len(contents.data.utterances)))
    parts = subset.split(contents, num_parts)
    sizes = [len(part.data.utterances) for part in parts]
    assert len(sizes) == num_parts
    assert max(sizes) - min(sizes) <= 1
    assert lists(combine(parts)) == lists(replace(contents, trials={}))


def test_more_parts_than_utterances_are_refused(tmp_path):
    with pytest.raises(DataError, match="4 utterances cannot be split in 5"):
        subset.split(Contents.load(make(tmp_path / "d")), 5)


def test_a_subset_of_speakers_takes_its_lists_along(tmp_path, caplog):
    caplog.set_level("INFO")
    part = subset.of_speakers(Contents.load(make(tmp_path / "d")), {"s1", "s3"})
    assert part.data.utt_ids == ("u1", "u2", "u4")
    assert part.tables["spk2gender"] == {"s1": "f", "s3": "u"}
    assert list(part.tables["reco2dur"]) == ["r1", "r3"]
    assert {name: len(trials) for name, trials in part.trials.items()} == {"trials": 1, "trials_cross": 2}
    assert f"{tmp_path}/d/trials: 1 of 2 trials dropped" in caplog.text


def test_random_choices_follow_the_seed_and_keep_the_order(tmp_path):
    items = list(range(100))
    first, again, other = (subset.choose(items, 30, np.random.default_rng(s), tmp_path) for s in (1, 1, 2))
    assert first == again == sorted(set(first))
    assert first != other
    for count in (0, 101):
        with pytest.raises(DataError, match=f"has 100 to choose from, not {count}"):
            subset.choose(items, count, np.random.default_rng(1), tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("u1\nu9\n", "2: 'u9' is not in"),
        ("u1\nu1\n", "2: 'u1' is on line 1"),
        ("u1 u2\n", "1: 'u1 u2' is not in"),
    ],
)
def test_a_list_of_ids_is_checked(tmp_path, content, fault):
    (tmp_path / "list").write_text(content)
    with pytest.raises(DataError, match=f"list:{fault}"):
        subset.read_ids(tmp_path / "list", set(UTTS))


def test_combining_refuses_an_id_with_two_meanings(tmp_path):
    first = Contents.load(make(tmp_path / "a"))
    with pytest.raises(DataError, match=r"utterance 'u1' is in .*/a as well; rename one, or use --prefix"):
        combine([first, replace(first, tables={}, trials={})])
    with pytest.raises(DataError, match=r"b/wav\.scp: 'r1' differs"):
        combine([first, Contents.load(make(tmp_path / "b"))])
    women = replace(first, tables={**first.tables, "spk2gender": {"s1": "m"}})
    with pytest.raises(DataError, match="spk2gender: 's1' differs"):
        combine([subset.of_utterances(first, {"u1"}), subset.of_utterances(women, {"u2"})])


def test_combining_with_prefixes_keeps_all_apart(tmp_path):
    parts = [Contents.load(make(tmp_path / name)) for name in ("a", "b")]
    both = combine([with_prefix(part, f"{part.data.path.name}-") for part in parts])
    both.write(tmp_path / "out")
    out = Contents.load(tmp_path / "out")
    assert out.data.utt_ids == tuple(f"{d}-{u}" for d in "ab" for u in UTTS)
    assert out.data.recordings[RecId("b-r1")].source == f"{tmp_path}/b/audio/r1.wav"
    assert list(out.data.spk2utt()) == [f"{d}-s{n}" for d in "ab" for n in (1, 2, 3)]
    assert out.tables["spk2gender"]["b-s2"] == "m"
    assert (out.trials["trials"].enroll_ids[2], out.trials["trials"].test_ids[3]) == ("b-u1", "b-u3")
    assert faults_of(tmp_path / "out") == []


def test_arrays_follow_their_utterances_into_every_kind_of_copy(tmp_path, monkeypatch):
    """Features, VAD and embeddings with relative paths, as written, cut and put together elsewhere."""
    parts = []
    for first, name in enumerate("ab"):
        folder = make(tmp_path / name, {"embeddings.scp": GOOD["feats.scp"].replace("feats", "emb")})
        (folder / "emb.ark").write_text("".join(f"{u} [ {i} ]\n" for i, u in enumerate(UTTS, 5 + first)))
        parts.append(Contents.load(folder))
    monkeypatch.chdir("/")
    whole = combine([with_prefix(part, f"{part.data.path.name}-") for part in parts])
    copies = {"whole": whole, "some": subset.of_utterances(whole, {"a-u2", "b-u3"})}
    copies |= {f"part{n}": part for n, part in enumerate(subset.split(whole, 3))}
    for name, copy in copies.items():
        copy.write(tmp_path / name)
        assert faults_of(tmp_path / name) == []
        for scp, start in (("feats.scp", 0), ("vad.scp", 0), ("embeddings.scp", 5)):
            table = FeatureTable(tmp_path / name / scp)
            assert list(table) == list(copy.data.utt_ids)
            for utt_id, array in table.items():
                shift = (utt_id[0] == "b") * (scp == "embeddings.scp")
                assert array.tolist() == [start + shift + UTTS.index(utt_id[2:])]


def test_a_recording_without_utterance_does_not_become_one(tmp_path):
    changes = dict.fromkeys(GOOD) | {"wav.scp": "a /a.wav\nb /b.wav\n", "segments": "a a 0 -1\n"}
    whole = combine([Contents.load(make(tmp_path / "d", changes))])
    whole.write(tmp_path / "out")
    assert DataDir.load(tmp_path / "out").utt_ids == ("a",)


def test_combining_says_what_it_leaves_out_and_which_speakers_it_joins(tmp_path, caplog):
    whole = Contents.load(make(tmp_path / "d"))
    first, second = (subset.of_utterances(whole, ids) for ids in ({"u1", "u3"}, {"u2", "u4"}))
    tables = {name: rows for name, rows in second.tables.items() if name not in {"vad.scp", "spk2gender"}}
    both = combine([first, replace(second, tables=tables)])
    assert "vad.scp left out: only 1 of 2" in caplog.text
    assert "1 speaker ids are in several data dirs" in caplog.text
    assert "vad.scp" not in both.tables
    assert both.tables["spk2gender"] == {"s1": "f", "s2": "m"}


def test_combining_speakers_with_none_is_refused(tmp_path):
    whole = Contents.load(make(tmp_path / "d"))
    first, second = (subset.of_utterances(whole, ids) for ids in ({"u1", "u2", "u3"}, {"u4"}))
    nameless = replace(second.data, utterances=tuple(replace(u, spk_id=None) for u in second.data.utterances))
    with pytest.raises(DataError, match=r"d/utt2spk: there is none, while other data dirs have it"):
        combine([first, replace(second, data=nameless)])


# --- held-out speakers


def training_set(folder: Path, num_speakers: int = 12, seconds: float = 8.0) -> Contents:
    """Two recordings of each speaker; the first third are women; the last recording is short."""
    names = [f"s{n:02d}" for n in range(num_speakers)]
    utts = [f"{name}-{take}" for name in names for take in (1, 2)]
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"{u} /audio/{u}.wav\n" for u in utts))
    (folder / "utt2spk").write_text("".join(f"{u} {u[:3]}\n" for u in utts))
    (folder / "utt2dur").write_text("".join(f"{u} {2.9 if u.endswith('2') else seconds}\n" for u in utts))
    (folder / "spk2gender").write_text(
        "".join(f"{s} {'fm'[n >= num_speakers // 3]}\n" for n, s in enumerate(names))
    )
    return Contents.load(folder)


def test_held_out_speakers_leave_training_and_become_trials(tmp_path):
    contents = training_set(tmp_path / "d")
    train, valid = hold_out(contents, 4, np.random.default_rng(3))
    held = set(valid.data.spk2utt())
    assert len(held) == 4
    assert sorted(held | set(train.data.spk2utt())) == sorted(contents.data.spk2utt())
    assert not held & set(train.data.spk2utt())
    assert sorted(valid.tables["spk2gender"][s] for s in held) == ["f", "f", "m", "m"]
    name = min(held)
    assert valid.data.spk2utt()[SpkId(name)] == [f"{name}-1-a", f"{name}-1-b", f"{name}-2"]
    first, second, whole = (u.segment for u in valid.data.utterances[:3])
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 4.0, 4.0, None)
    assert (whole.start_s, whole.end_s) == (0.0, None)
    assert list(valid.tables["utt2dur"].values())[:3] == ["4.000", "4.000", "2.900"]
    for part, name in ((train, "train"), (valid, "valid")):
        part.write(tmp_path / name)
        assert lists(Contents.load(tmp_path / name)) == lists(part)


def test_held_out_trials_are_all_pairs_and_those_of_one_gender(tmp_path):
    _, valid = hold_out(training_set(tmp_path / "d"), 4, np.random.default_rng(3))
    trials, same = valid.trials["trials"], valid.trials["trials_same_gender"]
    assert len(trials) == 12 * 11 / 2
    assert len(same) == 2 * (6 * 5 / 2)
    assert trials.labels.sum() == same.labels.sum() == 4 * 3
    gender = valid.tables["spk2gender"]
    for trial in trials:
        assert trial.is_target == (trial.enroll_id[:3] == trial.test_id[:3])
    assert all(gender[t.enroll_id[:3]] == gender[t.test_id[:3]] for t in same)


def test_the_seed_decides_who_is_held_out(tmp_path):
    contents = training_set(tmp_path / "d")
    first, again, other = (lists(hold_out(contents, 4, np.random.default_rng(s))[1]) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_one_gender_fills_up_what_the_other_lacks(tmp_path):
    _, valid = hold_out(training_set(tmp_path / "d"), 10, np.random.default_rng(3))
    assert sorted(valid.tables["spk2gender"].values()) == ["f"] * 4 + ["m"] * 6


def test_without_genders_there_is_one_list(tmp_path):
    contents = training_set(tmp_path / "d")
    unknown = {**contents.tables, "spk2gender": dict.fromkeys(contents.tables["spk2gender"], "u")}
    for tables in ({"utt2dur": contents.tables["utt2dur"]}, unknown):
        _, valid = hold_out(replace(contents, tables=tables), 4, np.random.default_rng(3))
        assert list(valid.trials) == ["trials"]


def test_utterances_within_recordings_are_halved_within_their_times(tmp_path):
    contents = training_set(tmp_path / "d")
    utterances = tuple(
        replace(u, segment=replace(u.segment, start_s=10.0, end_s=15.0)) for u in contents.data.utterances
    )
    _, valid = hold_out(
        replace(contents, data=replace(contents.data, utterances=utterances)), 2, np.random.default_rng(3)
    )
    times = [(u.segment.start_s, u.segment.end_s) for u in valid.data.utterances]
    assert times == [(10.0, 12.5), (12.5, 15.0)] * 4


@pytest.mark.parametrize(
    ("num_speakers", "fault"),
    [(11, "has 12 speakers; to hold out 11 takes 13"), (1, "takes two held-out speakers; ask for 2 or more")],
)
def test_too_many_or_few_held_out_speakers_are_refused(tmp_path, num_speakers, fault):
    with pytest.raises(DataError, match=fault):
        hold_out(training_set(tmp_path / "d"), num_speakers, np.random.default_rng(3))


def test_more_trials_than_anyone_scores_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(holdout, "MAX_TRIALS", 12 * 11 // 2 - 1)
    with pytest.raises(DataError, match="have 12 halves, which make over 65 trials; hold out fewer"):
        hold_out(training_set(tmp_path / "d"), 4, np.random.default_rng(3))


def test_speakers_with_one_short_utterance_each_make_no_test(tmp_path):
    contents = training_set(tmp_path / "d")
    short = subset.of_utterances(contents, [u for u in contents.data.utt_ids if u.endswith("2")])
    with pytest.raises(DataError, match="single short utterance each"):
        hold_out(short, 4, np.random.default_rng(3))


def test_halves_do_not_take_the_id_of_another_utterance(tmp_path):
    contents = training_set(tmp_path / "d")
    halves = {u: u.replace("-2", "-1-a") for u in contents.data.utt_ids}
    utterances = tuple(
        replace(u, segment=replace(u.segment, utt_id=halves[u.utt_id])) for u in contents.data.utterances
    )
    tables = {"utt2dur": {halves[UttId(u)]: d for u, d in contents.tables["utt2dur"].items()}}
    clash = Contents(replace(contents.data, utterances=utterances), tables, {})
    with pytest.raises(DataError, match="id of a half"):
        hold_out(clash, 4, np.random.default_rng(3))


def test_a_hold_out_without_speakers_names_the_missing_file(tmp_path):
    with pytest.raises(DataError, match="d/utt2spk: there is none"):
        hold_out(
            Contents.load(make(tmp_path / "d", {"utt2spk": None, "spk2gender": None})),
            2,
            np.random.default_rng(3),
        )
