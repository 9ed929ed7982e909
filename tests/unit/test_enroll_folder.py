"""``speakerlab enroll-folder``: what is enrolled, what is told, what a kill and a rerun leave."""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import time
from multiprocessing.connection import wait

import numpy as np
import openpyxl
import pytest
import soundfile
from conftest import RATE, save_tiny, speakerlab, toy_voice

from speakerlab.errors import DataError
from speakerlab.voiceprint.records import Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_tiny(path / "m", threshold=0.5)  # a net of random weights: everybody sounds alike
    save_tiny(path / "strict", threshold=1.0)
    save_tiny(path / "other", seed=1, threshold=0.5)
    save_tiny(path / "none")
    return path


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    """Call a command in an empty folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(command, *arguments, model="m"):
        if command in {"enroll-folder", "enroll", "identify"}:
            arguments = (*arguments, "--model", models / model)
        status = speakerlab(command, *arguments)
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


@pytest.fixture
def people(talkers, tmp_path):
    """A folder of two talkers, two recordings each."""
    for name, talker in zip(("Ann", "徐泰志"), talkers, strict=True):
        for number, waveform in enumerate(talker):
            file = tmp_path / "people" / name / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, pcm(waveform), RATE)
    return tmp_path / "people"


def pcm(waveform):
    """16-bit samples: libsndfile rounds floats in another way for FLAC than for WAV."""
    return np.round(waveform.samples * 32767).astype(np.int16)


def content(path="voiceprints.db"):
    """Name, source, state and embedding of every clip."""
    with VoiceprintStore.open(path, create=False) as store:
        names = store.names()
        return sorted(
            (names[one.speaker_id], one.voiceprint.source, one.state, one.voiceprint.embedding.tobytes())
            for one in store.clips()
        )


def states(told):
    """State and reason of each recording in a JSON report."""
    found = json.loads(told)["people"]
    return {one["recording"]: (one["state"], one["why"]) for who in found for one in who["recordings"]}


def test_a_folder_is_enrolled_and_passed_over_the_next_time(run, people):
    status, out, _ = run("enroll-folder", "people", "--dry-run")
    assert status == 0
    assert re.fullmatch(
        r"Ann: would be enrolled, 2 of 2 recordings\n"
        r"  people/Ann/0\.wav: new, \d\.\d s of speech\n"
        r"  people/Ann/1\.wav: new, \d\.\d s of speech\n"
        r"徐泰志: would be enrolled, 2 of 2 recordings\n"
        r"  note: sounds like Ann, already enrolled \(score 0\.\d{3}, threshold 0\.500\)\n"
        r"  people/徐泰志/0\.wav: new, \d\.\d s of speech\n"
        r"  people/徐泰志/1\.wav: new, \d\.\d s of speech\n"
        r"2 people: 2 would be enrolled\n", out,
    )  # fmt: skip
    assert not list(people.parent.glob("voiceprints.db*"))
    status, done, _ = run("enroll-folder", "people")
    notes = re.findall("note: .*", out)
    assert (status, re.findall("note: .*", done)) == (0, notes)  # the dry run foretold it
    assert re.sub("  note.*\n", "", done) == (
        "Ann: enrolled, 2 of 2 recordings\n徐泰志: enrolled, 2 of 2 recordings\n2 people: 2 enrolled\n"
    )
    first = content()
    assert [one[:1] + one[2:3] for one in first] == [("Ann", "enrolled")] * 2 + [("徐泰志", "enrolled")] * 2
    assert run("identify", "people/Ann/0.wav", "--json")[0] in {0, 3, 4}
    status, out, _ = run("enroll-folder", "people")
    assert (status, out.splitlines()[-1]) == (0, "2 people: 2 there already")
    assert content() == first


def test_enrolled_one_by_one_it_is_the_same(run, people):
    run("enroll-folder", "people", "--batch-size", "4")
    run("enroll", "Ann", "people/Ann/0.wav", "people/Ann/1.wav", "--voiceprints", "single.db")
    together = [one[3] for one in content() if one[0] == "Ann"]
    single = [one[3] for one in content("single.db")]
    assert len(single) == 2
    for a, b in zip(sorted(together), sorted(single), strict=True):
        np.testing.assert_allclose(np.frombuffer(a, "<f4"), np.frombuffer(b, "<f4"), rtol=0, atol=2e-6)


def test_what_was_enrolled_by_path_is_known(run, people):
    run("enroll", "Ann", "people/Ann/0.wav")
    status, out, _ = run("enroll-folder", "people", "--json")
    assert status == 0
    assert states(out)["people/Ann/0.wav"] == ("known", "is enrolled already")
    assert states(out)["people/Ann/1.wav"][0] == "enrolled"
    assert len(content()) == 4


def test_what_is_no_good_is_told(run, people, talkers):
    first = pcm(talkers[0][0])
    soundfile.write(people / "Ann" / "again.flac", first, RATE)
    soundfile.write(people / "Ann" / "stereo.wav", np.stack([first, 0 * first], axis=1), RATE)
    soundfile.write(people / "Ann" / "short.wav", first[: RATE // 2], RATE)
    soundfile.write(people / "Ann" / "silent.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(people / "Ann" / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, "FLOAT")
    (people / "Ann" / "cut.wav").write_bytes((people / "Ann" / "1.wav").read_bytes()[:5000])
    (people / "Ann" / "text.wav").write_text("no audio")
    (people / "Bob").mkdir()
    soundfile.write(people / "Bob" / "same.wav", pcm(talkers[1][0]), RATE)
    expected = {
        "people/Ann/0.wav": ("enrolled", ""),
        "people/Ann/1.wav": ("enrolled", ""),
        "people/Ann/again.flac": ("repeated", "has the same content as people/Ann/0.wav"),
        "people/Ann/stereo.wav": ("repeated", "has the same content as people/Ann/0.wav"),
        "people/Ann/short.wav": ("failed", "0.50 s long, 1 s of speech is the least"),
        "people/Ann/silent.wav": ("failed", "silence: -120 dB re full scale"),
        "people/Ann/nan.wav": ("failed", "NaN or Inf samples"),
        "people/Ann/cut.wav": ("failed", "truncated: 98220 of the 103220 bytes"),
        "people/Ann/text.wav": ("failed", "damaged or not audio"),
        "people/Bob/same.wav": ("failed", "the same recording is listed for '徐泰志' too"),
        "people/徐泰志/0.wav": ("failed", "the same recording is listed for 'Bob' too"),
        "people/徐泰志/1.wav": ("enrolled", ""),
    }
    for more in (["--dry-run"], ["--max-fail-rate", "0.6"]):
        status, out, err = run("enroll-folder", "people", "--json", *more)
        found = states(out)
        assert status == 3
        assert found.keys() == expected.keys()
        for recording, (state, why) in expected.items():
            assert found[recording][0] == state, recording
            assert found[recording][1].startswith(why), recording
        assert json.loads(out)["counts"] == {"enrolled": 2, "failed": 1}
        assert "Bob: people/Bob/same.wav: the same recording is listed for" in err
    before = content()
    assert [one[0] for one in before] == ["Ann", "Ann", "徐泰志"]
    status, out, _ = run("enroll-folder", "people", "--json", "--max-fail-rate", "0.6")
    assert (status, content()) == (3, before)
    assert states(out)["people/Ann/again.flac"] == ("known", "is enrolled already")


def test_the_same_recording_of_somebody_enrolled(run, people, talkers):
    run("enroll-folder", "people")
    (people / "Bob").mkdir()
    soundfile.write(people / "Bob" / "x.flac", pcm(talkers[0][1]), RATE)
    status, out, _ = run("enroll-folder", "people", "--dry-run")
    assert status == 3
    assert out.splitlines()[3:5] == [
        "Bob: no usable recording, 1 of 1 recordings",
        "  people/Bob/x.flac: failed, the same recording is enrolled as 'Ann'",
    ]


def test_two_speakers_go_to_the_review_list(run, people):
    dry, out, _ = run("enroll-folder", "people", "--dry-run", model="strict")
    assert dry == 3
    reason = r"because: the two recordings sound like different speakers \(score 0\.\d{3}, threshold 1\.000\)"
    assert re.search(rf"Ann: would be on the review list, 2 of 2 recordings\n  {reason}\n", out)
    status, out, _ = run("enroll-folder", "people", model="strict")
    assert status == 3
    assert re.search(rf"Ann: on the review list, 2 of 2 recordings\n  {reason}\n", out)
    assert {one[2] for one in content()} == {"review"}
    before = content()
    status, out, _ = run("enroll-folder", "people", "--json", model="strict")
    assert (status, content()) == (3, before)
    assert set(states(out).values()) == {("review", "is on the review list already")}
    status, out, _ = run("enroll-folder", "people", "--no-cohesion", "--voiceprints", "b.db", model="strict")
    assert (status, out.splitlines()[-1]) == (0, "2 people: 2 enrolled")


def test_duplicates_may_go_to_the_review_list(run, people):
    for more in (["--dry-run"], []):
        status, out, _ = run("enroll-folder", "people", "--duplicates", "review", "--json", *more)
        found = {one["name"]: one["state"] for one in json.loads(out)["people"]}
        assert (status, found) == (3, {"Ann": "enrolled", "徐泰志": "review"})
    status, out, _ = run("enroll-folder", "people", "--duplicates", "off", "--voiceprints", "b.db")
    assert (status, "sounds like" in out) == (0, False)


def test_people_with_little_speech_go_to_the_review_list(run, people):
    status, out, _ = run("enroll-folder", "people", "--min-speech", "30")
    assert status == 3
    assert re.search(r"Ann: on .*\n  because: \d\.\d\d s of speech in all, 30 s is the least\n", out)


def test_without_a_threshold_nothing_is_compared(run, people):
    status, out, err = run("enroll-folder", "people", model="none")
    assert (status, "sounds like" in out) == (0, False)
    assert "this model has no threshold: nobody looks whether recordings or people sound alike" in err


def test_another_model_enrols_again(run, people):
    run("enroll-folder", "people")
    status, out, _ = run("enroll-folder", "people", model="other")
    assert (status, out.splitlines()[-1]) == (0, "2 people: 2 enrolled")
    assert len(content()) == 8


def test_what_was_withdrawn_stays_so(run, people):
    run("enroll-folder", "people")
    with VoiceprintStore.open("voiceprints.db") as store:
        chosen = [
            one.clip_id for one in store.clips() if one.voiceprint.source.startswith("people/Ann/0.wav")
        ]
        store.withdraw(chosen)
    status, out, _ = run("enroll-folder", "people", "--json")
    assert status == 3
    assert states(out)["people/Ann/0.wav"] == (
        "withdrawn", "was withdrawn; 'speakerlab enroll' enrols it again",
    )  # fmt: skip
    assert len(content()) == 4


def test_too_many_failures_enrol_nobody(run, people):
    (people / "Ann" / "text.wav").write_text("no audio")
    status, out, err = run("enroll-folder", "people", "--failures", "bad.tsv")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].endswith(
        "people: 1 of 5 recordings cannot be used, and nobody was enrolled; repair them, or allow more with"
        " --max-fail-rate"
    )
    assert content() == []
    rows = (people.parent / "bad.tsv").read_text().splitlines()
    assert rows[0] == "name\trecording\twhy"
    assert rows[1].startswith("Ann\tpeople/Ann/text.wav\tdamaged or not audio")
    assert len(rows) == 2
    status, out, err = run("enroll-folder", "people", "--max-fail-rate", "0.2", "--failures", "bad.tsv")
    assert (status, len(content()), "text.wav" in err) == (3, 4, False)
    # Too short is found out while people are enrolled: those that are good stay.
    soundfile.write(people / "Ann" / "short.wav", np.zeros(RATE), RATE)
    status, _, err = run("enroll-folder", "people", "--max-fail-rate", "0.2", "--voiceprints", "b.db")
    assert (status, len(content("b.db"))) == (1, 4)
    assert "2 of 6 recordings cannot be used, and the others are enrolled" in err


def test_galleries_consent_and_kept_audio(run, people):
    run("store", "settings", "--consent", "required", "--keep-audio", "kept")
    status, out, err = run("enroll-folder", "people")
    assert (status, out) == (1, "")
    assert "this store demands a consent; give --consent" in err
    status, _, _ = run(
        "enroll-folder", "people", "--consent", "file 7", "--gallery", "staff", "--gallery", "all"
    )
    assert status == 0
    with VoiceprintStore.open("voiceprints.db") as store:
        assert store.galleries() == {"all": 2, "staff": 2}
        clips = store.clips()
        assert {one.voiceprint.consent.reference for one in clips} == {"file 7"}
        for one in clips:
            kept, _ = soundfile.read(f"kept/{one.voiceprint.audio}.flac")
            source, _ = soundfile.read(one.voiceprint.source.partition(" [")[0])
            assert np.array_equal(kept, source)


def test_a_workbook_to_json_to_the_store(run, people):
    (people / "Monday" / "wav").mkdir(parents=True)
    for name in ("Ann", "徐泰志"):
        for number in (0, 1):
            (people / name / f"{number}.wav").rename(people / "Monday" / "wav" / f"{name}{number}.wav")
    book = openpyxl.Workbook()
    book.active.title = "Monday"
    for row in [
        ("file", 1, 2, 3, 4, "who"),
        *((f"{name}{n}", 1, 2, 3, 4, name) for name in ("Ann", "徐泰志") for n in (0, 1)),
    ]:
        book.active.append(row)
    for title in ("Sum", "Legend"):
        book.create_sheet(title)
    book.save("list.xlsx")
    arguments = ("list.xlsx", "--preset", "meeting", "--root", "./people")
    status, out, _ = run("enroll-folder", *arguments, "--write-json", "people.json")
    assert (status, out) == (0, "people.json: 2 people, 4 recordings\n")
    assert not (people.parent / "voiceprints.db").exists()
    expected = {name: [f"./people/Monday/wav/{name}{n}.wav" for n in (0, 1)] for name in ("Ann", "徐泰志")}
    text = (people.parent / "people.json").read_text(encoding="utf-8")
    assert text == json.dumps(expected, ensure_ascii=False, indent=4)
    status, out, _ = run("enroll-folder", "people.json")
    assert (status, out.splitlines()[-1]) == (0, "2 people: 2 enrolled")
    assert run("enroll-folder", *arguments)[1].splitlines()[-1] == "2 people: 2 there already"


def test_missing_recordings_of_a_list(run, people):
    rows = ["Ann,people/Ann/0.wav", "Ann,people/Ann/none.wav", "Bob,/etc/passwd", "Carl,"]
    (people.parent / "l.csv").write_text("name,path\n" + "\n".join(rows))
    status, out, _ = run("enroll-folder", "l.csv", "--dry-run")
    assert status == 3
    assert "not taken: Bob: l.csv, row 4: /etc/passwd leads out of ." in out
    assert "not taken: Carl: l.csv, row 5: the recording is empty" in out
    assert "  people/Ann/none.wav: failed, no such file" in out
    assert out.splitlines()[-1] == "1 people: 1 would be enrolled; 2 entries cannot be taken"
    status, out, _ = run("enroll-folder", "l.csv", "--dry-run", "--json")
    found = json.loads(out)
    assert (status, found["dry_run"], len(found["refused"])) == (3, True, 2)
    assert found["model_hash"]


def test_names_like_paths_are_data(run, people, tmp_path):
    (tmp_path / "l.csv").write_text("name;path\n../../etc;people/Ann/0.wav\n")
    before = {path for path in tmp_path.parent.rglob("*") if path.is_dir()}
    assert run("enroll-folder", "l.csv")[0] == 0
    assert [one[0] for one in content()] == ["../../etc"]
    assert {path for path in tmp_path.parent.rglob("*") if path.is_dir()} == before


def test_a_data_dir(run, people, tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    ann = people / "Ann"
    (path / "wav.scp").write_text(f"a {ann}/0.wav\nb cat {ann}/1.wav |\nc {people}/徐泰志/0.wav\n")
    (path / "segments").write_text("u1 a 0 2\nu2 a 2 -1\nu3 b 0 -1\nu4 c 0 -1\n")
    (path / "utt2spk").write_text("u1 ann\nu2 ann\nu3 ann\nu4 x\n")
    status, out, err = run("enroll-folder", "data", "--dry-run")
    assert (status, out) == (1, "")
    assert "'b' is a command; commands run only where a data dir is declared: add --kind kaldi" in err
    status, out, _ = run("enroll-folder", "data", "--kind", "kaldi", "--json")
    assert status == 0
    assert {one: state for one, (state, _) in states(out).items()} == dict.fromkeys(
        ("data: u1", "data: u2", "data: u3", "data: u4"), "enrolled"
    )
    assert "cat " not in "".join(one[1] for one in content())  # a command may hold a secret
    assert run("enroll-folder", "data", "--kind", "kaldi")[1].splitlines()[-1] == "2 people: 2 there already"


def test_vectors_belong_to_the_model_that_is_stated(run, people, models):
    feats = np.random.default_rng(0).normal(size=(3, 8))
    feats /= 2 * np.linalg.norm(
        feats, axis=1, keepdims=True
    )  # of length 1/2, as a mean of unit vectors may be
    np.savez("staff.npz", label=np.array(["Ann", "徐泰志", "Carl"]), train_feats=feats)
    assert "give --npz-model" in run("enroll-folder", "staff.npz")[2]
    foreign = "ab" * 32
    status, out, _ = run("enroll-folder", "staff.npz", "--npz-model", foreign, "--dry-run")
    assert (status, out.splitlines()[-1]) == (0, "3 people: 3 would be enrolled")
    for last in ("3 people: 3 enrolled", "3 people: 3 there already"):
        status, out, _ = run("enroll-folder", "staff.npz", "--npz-model", foreign)
        assert (status, out.splitlines()[-1]) == (0, last)
    kept = content()
    assert [np.frombuffer(one[3], "<f4").tolist() for one in kept] == [
        feats[row].astype(np.float32).tolist() for row in (0, 2, 1)
    ]
    # never compared with ours
    assert "enrolled with another model" in run("identify", "people/Ann/0.wav")[2]
    status, out, _ = run("enroll-folder", "people")
    assert (status, out.count("sounds like")) == (
        0,
        1,
    )  # the second talker like the first; nobody like a vector
    status, _, err = run("enroll-folder", "staff.npz", "--npz-model", models / "m", "--voiceprints", "b.db")
    assert status == 0
    with VoiceprintStore.open("b.db") as store:
        assert {one.voiceprint.model for one in store.clips()} != {foreign}
    np.savez("wide.npz", label=np.array(["Ann"]), train_feats=np.ones((1, 9)))
    for more in (["--dry-run"], []):
        status, _, err = run("enroll-folder", "wide.npz", "--npz-model", foreign, *more)
        assert status == 1
        assert "its embeddings have 8 numbers, and the vectors have 9: another model made them" in err
        status, _, err = run(
            "enroll-folder", "wide.npz", "--npz-model", models / "m", "--voiceprints", "c.db"
        )
        assert status == 1
        assert f"{models}/m: its embeddings have 8 numbers, and the vectors have 9" in err
    status, _, err = run("enroll-folder", "staff.npz", "--npz-model", "no-such-model")
    assert (status, "Traceback" in err) == (1, False)


def test_vectors_go_out_again(run, people):
    feats = np.eye(3, 8) * 0.5
    np.savez("staff.npz", label=np.array(["Ann", "Bob", "徐泰志"]), train_feats=feats)
    run("enroll-folder", "staff.npz", "--npz-model", "ab" * 32)
    status, out, _ = run("store", "export-npz", "out.npz", "--npz-model", "ab" * 32)
    assert (status, out) == (0, "out.npz: 3 people\n")
    with np.load("out.npz", allow_pickle=False) as told:
        assert told["label"].tolist() == ["Ann", "Bob", "徐泰志"]
        np.testing.assert_allclose(told["train_feats"], np.eye(3, 8), rtol=0, atol=1e-15)


def test_vectors_that_cannot_be_used(run):
    feats = np.array([[1.0, 0], [0, 0], [0, 1], [0, 1]])
    np.savez("staff.npz", label=np.array(["Ann", "Bob", "Carl", "Dora"]), train_feats=feats)
    status, _, err = run("enroll-folder", "staff.npz", "--npz-model", "ab" * 32)
    assert status == 1
    assert "Bob: staff.npz, row 2: the embedding has length zero" in err
    status, out, err = run("enroll-folder", "staff.npz", "--npz-model", "ab" * 32, "--max-fail-rate", "1")
    assert status == 3
    assert (
        out.splitlines()[-1]
        == "3 people: 1 enrolled, 2 without a usable recording; 1 entries cannot be taken"
    )
    assert "Carl: staff.npz, row 3: the same recording is listed for 'Dora' too" in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["none"], "none: no such file or folder"),
        (["l.docx"], "its name does not tell what it is; give --kind"),
        (["l.csv", "--sheets", "A"], "--sheets is not for a source of kind csv"),
        (["people", "--fill-down"], "--fill-down is not for a source of kind folder"),
        (["l.csv", "--npz-model", "x"], "--npz-model is not for a source of kind csv"),
        (
            ["l.csv", "--delimiter", "ab"],
            "--delimiter is one character, or one of comma, semicolon, tab, bar",
        ),
        (["l.csv", "--path-template", "{x}"], "the path template has {x}; use {sheet}, {file}, {name}"),
        (["l.csv", "--min-speech", "-1"], "min_speech_s is -1.0"),
        (["l.csv", "--consent-until", "2027-01-01"], "--consent-until needs --consent REFERENCE"),
        (["l.csv", "--voiceprints", "people"], "people: is a folder; name a file"),
    ],
)
def test_what_cannot_be_asked(run, people, tmp_path, arguments, why):
    (tmp_path / "l.docx").write_text("x")
    (tmp_path / "l.csv").write_text("name,path\nAnn,people/Ann/0.wav\n")
    status, out, err = run("enroll-folder", *arguments)
    assert (status, out) == (1, "")
    assert why in err
    assert "Traceback" not in err


def test_a_dry_run_changes_nothing(run, people):
    run("enroll-folder", "people", "--gallery", "staff")
    soundfile.write(people / "Ann" / "more.wav", toy_voice(3, 0, 3), RATE)
    before = sqlite3.connect("voiceprints.db").execute("SELECT revision FROM store").fetchone()
    status, out, _ = run("enroll-folder", "people", "--dry-run", "--no-quality", "--gallery", "new", "--json")
    assert (status, states(out)["people/Ann/more.wav"][0]) == (0, "enrolled")
    assert sqlite3.connect("voiceprints.db").execute("SELECT revision FROM store").fetchone() == before


def test_what_changes_meanwhile_is_not_enrolled(run, people, monkeypatch):
    from speakerlab.voiceprint import bulk_plan

    plan = bulk_plan.plan

    def plan_and_change(*arguments):
        found = plan(*arguments)
        soundfile.write(people / "Ann" / "0.wav", toy_voice(3, 0, 3), RATE)
        return found

    monkeypatch.setattr(bulk_plan, "plan", plan_and_change)
    status, out, _ = run("enroll-folder", "people", "--json", "--max-fail-rate", "1")
    assert status == 3
    assert states(out)["people/Ann/0.wav"] == ("failed", "was changed meanwhile; run this again")
    assert len(content()) == 3


def killed(delay_s, *arguments):
    """Call a command in a process that is killed so many seconds after its start, if it still lives."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            status = speakerlab(*arguments)
        finally:
            os._exit(status)
    os.close(writer)  # the child has the other one: it is closed when that ends
    wait([reader], delay_s)
    os.kill(pid, signal.SIGKILL)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def many(run, tmp_path):
    """What enrols twelve toy voices, two recordings each, and what an undisturbed run makes of it."""
    for speaker in range(12):
        for number in range(2):
            file = tmp_path / "many" / f"s{speaker:02}" / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, toy_voice(speaker, number, 1.0), RATE)
    options = ("enroll-folder", "many", "--no-quality", "--min-speech", "0")
    assert run(*options, "--voiceprints", "whole.db")[0] == 0
    assert len(content("whole.db")) == 24
    return (*options, "--voiceprints", "killed.db"), content("whole.db")


def test_killed_at_any_time_it_leaves_whole_people_and_a_rerun_completes_them(run, many, models):
    options, whole = many
    start = time.monotonic()
    assert run(*options[:-1], "timed.db")[0] == 0
    needed_s = time.monotonic() - start
    rng, seen = random.Random(0), []
    for number in range(20):
        killed(rng.uniform(0, needed_s * number / 20), *options, "--model", models / "m")
        with contextlib.suppress(DataError):  # killed before there was a store
            names = [one[0] for one in content("killed.db")]
            assert all(names.count(one) == 2 for one in names)
            seen.append(len(names))
    assert seen == sorted(seen)
    assert run(*options)[0] == 0
    assert content("killed.db") == whole


@pytest.mark.parametrize("person", [1, 5, 12])
def test_killed_inside_a_transaction(run, many, models, monkeypatch, person):
    options, whole = many
    record, calls = VoiceprintStore.record, []

    def die(store, revision, action, *rest):
        record(store, revision, action, *rest)
        calls.append(action)
        if calls.count("enrol") == person:  # both clips are written, and the commit is next
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(VoiceprintStore, "record", die)
        assert killed(60, *options, "--model", models / "m") == -signal.SIGKILL
    assert content("killed.db") == whole[: 2 * (person - 1)]
    status, out, _ = run(*options)
    told = out.splitlines()[-1]
    before = f", {person - 1} there already" if person > 1 else ""
    assert (status, told) == (0, f"12 people: {13 - person} enrolled{before}")
    assert content("killed.db") == whole


def test_a_voiceprint_of_another_program_with_the_same_name_is_extended(run, people):
    with VoiceprintStore.open("voiceprints.db") as store:
        store.enrol([Voiceprint(np.ones(8, np.float32), "elsewhere", "x", 5.0)], name="Ann")
    status, out, _ = run("enroll-folder", "people")
    assert (status, out.splitlines()[-1]) == (0, "2 people: 2 enrolled")
    with VoiceprintStore.open("voiceprints.db") as store:
        assert store.find("Ann").num_clips == 3
