"""Erasure and retention: receipts that queries prove, bytes that are gone, an audit without the person."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_voiceprint_store import Clock, clip, models

from speakerlab.errors import DataError
from speakerlab.pipeline.sources import find_one
from speakerlab.voiceprint.audio_folder import keep
from speakerlab.voiceprint.erasure import Retention, erase, retain
from speakerlab.voiceprint.records import Consent, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

DAY_S = 86400.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(place, clock):
    with VoiceprintStore.open(place, actor="tester", clock=clock) as found:
        yield found


def test_erasure_leaves_nothing_but_a_pseudonym(store):
    store.add_gallery("board")
    ann = store.enrol([clip(1, 0), clip(0, 1)], name="Ann", galleries=["board"]).speaker_id
    store.enrol([clip(1, 1)], name="Ann", review=["x"])
    store.enrol([clip(1, 0)], name="Bob")
    receipt = json.loads(json.dumps(erase(store, ann)))
    assert receipt["removed"] == {"galleries": 1, "clips": 3, "speakers": 1, "recordings": 0}
    assert receipt["found_afterwards"] == {"galleries": 0, "clips": 0, "speakers": 0}
    assert (receipt["kind"], receipt["speaker_id"], receipt["by"]) == ("erasure", ann, "tester")
    assert receipt["time"] == "2027-01-15T08:00:00+00:00"
    assert "Ann" not in json.dumps(receipt)
    assert [one.name for one in store.speakers()] == ["Bob"]
    assert store.galleries() == {"board": 0}
    told = [
        (one.action, one.speaker_id, one.num_clips) for one in store.audit() if one.action != "add gallery"
    ]
    assert told[:2] == [("enrol", None, 2), ("review", None, 1)]
    assert told[-1] == ("erase", None, 3)
    pseudonyms = {one.pseudonym for one in store.audit() if one.speaker_id is None and one.pseudonym}
    assert len(pseudonyms) == 1
    assert ann not in pseudonyms
    for action in (store.speaker, lambda one: erase(store, one)):
        with pytest.raises(DataError, match="there is no speaker"):
            action(ann)


def test_who_follows_hears_of_a_removal_for_a_week(store, clock):
    ann = store.enrol([clip(1, 0)], name="Ann").speaker_id
    seen = store.revision
    erase(store, ann)
    news = store.changes_since(seen)
    assert (news.changed, news.removed, news.is_complete) == ((), (ann,), True)
    clock.now += 8 * DAY_S
    store.enrol([clip(1, 0)], name="Bob")
    assert store.database.rows("SELECT COUNT(*) FROM removed") == [(0,)]  # the bare id is gone too
    assert not store.changes_since(seen).is_complete
    assert store.changes_since(news.revision).is_complete
    assert store.changes_since(0).is_complete


def test_the_bytes_are_gone_from_every_file(place, tmp_path, store):
    if place.startswith("postgresql"):
        ann = store.enrol([clip(1, 0)], name="Ann").speaker_id
        assert erase(store, ann)["bytes_overwritten"] is False  # the server promises nothing of the kind
        return
    rng = np.random.default_rng(0)
    people = {}
    for number in range(60):
        embeddings = [rng.normal(size=192).astype(np.float32) for _ in range(3)]
        done = store.enrol(
            [Voiceprint(one, "m", f"secret{number}.wav") for one in embeddings], name=f"Person {number:03}"
        )
        people[done.speaker_id] = (f"Person {number:03}", f"secret{number}.wav", embeddings)

    def content():
        return b"".join(path.read_bytes() for path in tmp_path.glob("people.db*"))

    before = content()
    gone = list(people)[::2]
    receipts = [erase(store, one) for one in gone]
    assert all(receipt["bytes_overwritten"] for receipt in receipts)
    after = content()
    for speaker_id, (name, source, embeddings) in people.items():
        is_gone = speaker_id in gone
        assert name.encode() in before
        assert (name.encode() in after) is not is_gone, name
        assert (source.encode() in after) is not is_gone
        for one in embeddings:
            data = one.tobytes()
            assert data in before
            assert (data in after) is not is_gone
            if is_gone:  # no part of it either
                assert not any(data[start : start + 16] in after for start in range(0, len(data), 16))


def test_a_reader_elsewhere_delays_the_overwriting_and_the_receipt_tells(place, store, monkeypatch):
    if place.startswith("postgresql"):
        assert store.database.dialect.overwrite_deleted(store.database) is False
        return
    ann = store.enrol([clip(1, 0)], name="Ann").speaker_id
    store.database.run("PRAGMA busy_timeout = 50")
    with VoiceprintStore.open(place) as other, other.database.transaction(write=False):
        assert len(other.speakers()) == 1
        receipt = erase(store, ann)
        assert len(other.speakers()) == 1  # that transaction sees one state
    assert receipt["bytes_overwritten"] is False
    assert receipt["found_afterwards"]["clips"] == 0


def test_retention_by_consent_and_age(store, clock):
    now = clock.now
    ann = store.enrol([clip(1, 0, consent=Consent("c1", None, now + DAY_S))], name="Ann")
    bob = store.enrol([clip(1, 0, consent=Consent("c2", None, now + DAY_S)), clip(0, 1)], name="Bob")
    eve = store.enrol([clip(1, 1)], name="Eve", review=["x"])
    store.withdraw(store.enrol([clip(0, 1)], name="Dan").clip_ids)
    nobody = retain(store, Retention())
    assert nobody["removed"] == {"speakers": 0, "clips": 0, "galleries": 0, "recordings": 0}
    assert nobody["revision"] == store.revision == 5
    clock.now += DAY_S
    receipt = retain(store, Retention())
    assert receipt["removed"] == {"speakers": 1, "clips": 2, "galleries": 0, "recordings": 0}
    assert receipt["found_afterwards"] == {"speakers": 0, "clips": 0, "galleries": 0}
    assert models(store) == {"Bob": [0, 1]}
    news = store.changes_since(nobody["revision"])
    assert (news.changed, news.removed) == ((bob.speaker_id,), (ann.speaker_id,))
    assert [one.action for one in store.audit(nobody["revision"])] == ["retention", "retention"]
    clock.now += 10
    assert retain(store, Retention(max_review_s=DAY_S, max_withdrawn_s=2 * DAY_S))["removed"]["clips"] == 1
    assert [one.name for one in store.speakers()] == ["Bob", "Dan"]
    assert eve.speaker_id in store.changes_since(0).removed
    assert retain(store, Retention(max_withdrawn_s=DAY_S))["removed"]["speakers"] == 1
    assert retain(store, Retention(max_age_s=DAY_S + 100))["removed"]["clips"] == 0
    assert retain(store, Retention(max_age_s=DAY_S))["removed"]["clips"] == 1
    assert store.speakers() == []


def test_kept_recordings_go_with_their_clips(store, tmp_path):
    samples = (np.arange(-8000, 8000) / 32768).astype(np.float32)
    folder = tmp_path / "kept"
    assert keep(None, [find_one(samples, 16000)]) == []
    stems = keep(str(folder), [find_one(samples, 16000), find_one(-samples, 8000)])
    store.set(audio_folder=str(folder))
    assert oct(folder.stat().st_mode)[-3:] == "700"
    files = [folder / f"{stem}.flac" for stem in stems]
    assert {oct(file.stat().st_mode)[-3:] for file in files} == {"600"}
    found, rate = soundfile.read(files[0], dtype="float32")
    assert rate == 16000
    np.testing.assert_array_equal(found, samples)
    ann = store.enrol([clip(1, 0, audio=stems[0])], name="Ann").speaker_id
    bob = store.enrol([clip(1, 0, audio=stems[1])], name="Bob")
    assert erase(store, ann)["removed"]["recordings"] == 1
    assert [file.exists() for file in files] == [False, True]
    orphan, young = folder / f"{'0' * 32}.flac", folder / f"{'1' * 32}.flac"
    for path in (orphan, young):
        path.write_bytes(b"x")
    os.utime(orphan, (time.time() - 4000, time.time() - 4000))
    store.withdraw(bob.clip_ids)
    assert retain(store, Retention())["removed"]["recordings"] == 1
    assert sorted(Path(folder).iterdir()) == sorted([young, files[1]])
    store.clock.now += 1
    assert retain(store, Retention(max_withdrawn_s=0.0))["removed"] == {
        "speakers": 1, "clips": 1, "galleries": 0, "recordings": 1,
    }  # fmt: skip
    assert list(folder.iterdir()) == [young]
