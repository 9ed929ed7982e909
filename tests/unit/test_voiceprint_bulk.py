"""Enrolling many, in SQLite and, by tests/postgresql/run.sh, in PostgreSQL: what is known, in and out."""

import json

import numpy as np
import pytest
import soundfile
from conftest import RATE, save_tiny, speakerlab, toy_voice

from speakerlab.voiceprint.bulk_plan import Entry, sorted_out
from speakerlab.voiceprint.records import Voiceprint
from speakerlab.voiceprint.sources.listing import Item, file_source
from speakerlab.voiceprint.store import VoiceprintStore

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def entry(name, path, digest):
    return Entry(Item(name, file_source(path)), digest)


def clip(source, model="m"):
    return Voiceprint(np.ones(4, np.float32), model, source, 2.0)


def judged(store, *entries, model="m"):
    """State and reason of each entry."""
    sorted_out(entries, store, model)
    return [(one.state, one.why) for one in entries]


def test_what_the_store_knows(place):
    with VoiceprintStore.open(place) as store:
        store.enrol([clip(f"x.wav [sha256:{A}]"), clip("old.wav")], name="Ann")
        store.enrol([clip(f"y.wav [sha256:{B}]")], name="Ann", review=["noisy"])
        store.enrol([clip(f"z.wav [sha256:{C}]", "other")], name="Ann")
        assert judged(store, entry("Ann", "moved.flac", A), entry("Ann", "y.wav", B)) == [
            ("known", "is enrolled already"), ("review", "is on the review list already"),
        ]  # fmt: skip
        assert judged(store, entry("Ann", "z.wav", C)) == [("new", "")]  # of another model
        assert judged(store, entry("Ann", "z.wav", C), model="other") == [("known", "is enrolled already")]
        assert judged(store, entry("Bob", "x.wav", A), entry("Bob", "z.wav", C)) == [
            ("failed", "the same recording is enrolled as 'Ann'"),
        ] * 2  # fmt: skip
        assert judged(store, entry("Ann", "old.wav", "d" * 64)) == [("known", "is enrolled already")]
        assert judged(store, entry("Bob", "old.wav", "d" * 64)) == [("new", "")]
        store.withdraw([one.clip_id for one in store.clips() if A in one.voiceprint.source])
        assert judged(store, entry("Ann", "x.wav", A))[0][0] == "withdrawn"
        assert judged(store, entry("Bob", "x.wav", A)) == [("new", "")]


def test_what_a_list_holds_twice():
    ones = ("Ann", "1", A), ("Ann", "1", A), ("Bob", "2", B), ("Carl", "3", B), ("Ann", "4", C)
    entries = [entry(*one) for one in ones]
    assert judged(None, *entries) == [
        ("new", ""),
        ("repeated", "has the same content as 1"),
        ("failed", "the same recording is listed for 'Carl' too"),
        ("failed", "the same recording is listed for 'Bob' too"),
        ("new", ""),
    ]


@pytest.fixture
def run(tmp_path, place, monkeypatch, capsys):
    """Call ``enroll-folder`` on a folder of three toy voices: (status, report)."""
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "m", threshold=0.5)
    for speaker in range(3):
        for number in range(2):
            file = tmp_path / "people" / f"s{speaker}" / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, toy_voice(speaker, number, 1.0), RATE)

    def call(*arguments):
        options = ("--voiceprints", place, "--no-quality", "--min-speech", "0", "--model", "m", "--json")
        status = speakerlab("enroll-folder", *arguments, *options)
        return status, json.loads(capsys.readouterr().out)

    return call


def test_a_dry_run_foretells_the_run_and_the_rerun_passes_over(run, place):
    status, dry = run("people", "--dry-run")
    assert (status, dry["counts"]) == (0, {"enrolled": 3})
    with VoiceprintStore.open(place) as store:
        assert store.speakers() == []
    status, done = run("people", "--gallery", "staff")
    assert (status, done["people"]) == (0, dry["people"])
    with VoiceprintStore.open(place) as store:
        assert [(one.name, one.num_clips) for one in store.speakers("staff")] == [
            ("s0", 2),
            ("s1", 2),
            ("s2", 2),
        ]
        revision = store.revision
    status, again = run("people")
    assert (status, again["counts"]) == (0, {"known": 3})
    with VoiceprintStore.open(place) as store:
        assert store.revision == revision


def test_vectors_go_in_and_out(run, place, capsys):
    feats = np.array([[0.3, 0.4], [0, -0.5]])
    np.savez("in.npz", label=np.array(["徐泰志", "Ann"]), train_feats=feats)
    status, told = run("in.npz", "--npz-model", A)
    assert (status, told["counts"], told["model_hash"]) == (0, {"enrolled": 2}, A)
    assert speakerlab("store", "export-npz", "out.npz", "--npz-model", A, "--voiceprints", place) == 0
    assert capsys.readouterr().out == "out.npz: 2 people\n"
    with np.load("out.npz", allow_pickle=False) as out:
        found = dict(zip(out["label"].tolist(), out["train_feats"].tolist(), strict=True))
    np.testing.assert_allclose(found["徐泰志"], [0.6, 0.8], rtol=0, atol=1e-7)  # float32 of 0.3 and 0.4
    np.testing.assert_allclose(found["Ann"], [0, -1], rtol=0, atol=1e-7)
