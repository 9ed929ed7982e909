"""The voiceprint store, on SQLite, and by tests/postgresql/run.sh on PostgreSQL: values, borders, history."""

import math
import threading

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.voiceprint.records import Consent, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


def clip(*values, model="hash-1", **more):
    return Voiceprint(np.array(values, dtype=np.float32), model, more.pop("source", "a.wav"), 2.5, **more)


def directions(embeddings):
    return embeddings.astype(np.float64) / np.linalg.norm(embeddings, axis=1, keepdims=True)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(place, clock):
    with VoiceprintStore.open(place, actor="tester", clock=clock) as found:
        yield found


def models(store, model="hash-1", **more):
    """Speaker models by name."""
    table = store.models(model, directions, **more)
    names = store.names()
    return {names[one]: row.tolist() for one, row in zip(table.ids, table.matrix, strict=True)}


def test_what_was_enrolled_comes_back_to_the_bit(place, store):
    embedding = np.random.default_rng(0).normal(size=192).astype(np.float32)
    consent = Consent("file 7", 1.0, 4e9)
    told = Voiceprint(embedding, "m", "a.wav", 2.5, "campplus", ("clipped",), "rule", consent, None)
    done = store.enrol([told], name="Ann")
    assert (done.state, done.revision, done.num_clips) == ("enrolled", 1, 1)
    with VoiceprintStore.open(place) as other:
        (found,) = other.clips(done.speaker_id)
    assert found.voiceprint.embedding.tobytes() == embedding.tobytes()
    assert (found.clip_id, found.state, found.review, found.withdrawn_s) == (
        done.clip_ids[0],
        "enrolled",
        (),
        None,
    )
    for name in ("model", "source", "speech_s", "model_name", "flags", "calibration", "consent", "audio"):
        assert getattr(found.voiceprint, name) == getattr(told, name)


def test_a_model_is_the_mean_of_the_directions(store):
    store.enrol([clip(3, 0)], name="Ann")
    assert store.enrol([clip(0, 0.5)], name="Ann").num_clips == 2
    store.enrol([clip(-7, 0)], name="Bob")
    found = models(store)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(found["Ann"], [half, half], atol=1e-7)
    assert found["Bob"] == [-1, 0]
    pages = [table.ids for table in store.model_pages("hash-1", directions, page=1)]
    assert pages == [(one,) for one in sorted(store.names())]


def test_directions_that_cancel_out_are_no_model_and_hurt_nobody(store, caplog):
    store.enrol([clip(1, 0), clip(-2, 0)], name="Ann")
    store.enrol([clip(0, 1)], name="Bob")
    assert models(store) == {"Bob": [0, 1]}
    assert "cancel out" in caplog.text


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a/b", "名前", "O'Neil 2", "x" * 200, "%s ? {}"])
def test_any_name_is_data(store, name):
    speaker_id = store.enrol([clip(1, 0)], name=name).speaker_id
    assert [one.name for one in store.speakers()] == [name]
    assert store.find(name).speaker_id == speaker_id
    assert set(speaker_id) <= set("0123456789abcdef")
    assert len(speaker_id) == 32


def test_two_spellings_of_one_name_are_one_person(store):
    store.enrol([clip(1, 0)], name="José")
    assert store.enrol([clip(0, 1)], name=" Jose\u0301 ").num_clips == 2


@pytest.mark.parametrize("name", ["", "  ", "é" * 201, "a\0b", "a\nb", "\ud800"])
def test_no_name(store, name):
    for action in (store.add_speaker, lambda one: store.enrol([clip(1, 0)], name=one), store.add_gallery):
        with pytest.raises(DataError, match="cannot be a name; use 1 to 200 characters"):
            action(name)
    assert (store.speakers(), store.galleries(), store.revision) == ([], {}, 0)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (clip(np.nan, 1), "finite numbers"),
        (clip(np.inf, 1), "finite numbers"),
        (clip(0, 0), "length zero"),
        (clip(1, 2, 3), "embeddings of one model must be of one size"),
        (Voiceprint(np.array([1e39, 1]), "hash-1", "a.wav"), "finite numbers"),  # float32 cannot hold it
        (Voiceprint(np.ones((2, 2), np.float32), "hash-1", "a.wav"), "a vector"),
        (Voiceprint(np.zeros(0, np.float32), "hash-1", "a.wav"), "a vector"),
        (clip(1, 0, model=""), "has no model"),
        (Voiceprint(np.ones(2, np.float32), "hash-1", "a.wav", math.nan), "no duration"),
    ],
)
def test_embeddings_that_do_not_fit_change_nothing(store, bad, why):
    store.enrol([clip(1, 0)], name="Ann")
    with pytest.raises(DataError, match=why):
        store.enrol([clip(0, 1), bad], name="Ann")
    assert (len(store.clips()), store.revision) == (1, 1)
    with pytest.raises(DataError, match="embeddings of this model have 2 numbers, and not 3"):
        store.enrol([clip(1, 2, 3)], name="Ann")
    with pytest.raises(DataError, match="no recording to enrol"):
        store.enrol([], name="Bob")
    assert store.find("Bob") is None


def test_models_are_never_mixed(store):
    store.enrol([clip(1, 0)], name="Ann")
    store.enrol([clip(0, 1, 0, model="hash-2")], name="Ann")
    store.enrol([clip(0, 0, 1, model="hash-2")], name="Bob")
    assert models(store) == {"Ann": [1, 0]}
    assert models(store, "hash-2") == {"Ann": [0, 1, 0], "Bob": [0, 0, 1]}
    assert models(store, "hash-3") == {}
    assert (store.num_without("hash-1"), store.num_without("hash-2"), store.num_without("hash-3")) == (
        1,
        0,
        2,
    )


def test_a_correction_is_a_new_clip_and_a_withdrawal(store):
    first = store.enrol([clip(1, 0), clip(1, 1)], name="Ann")
    second = store.replace(first.speaker_id, first.clip_ids[:1], [clip(0, 1)])
    assert second.num_clips == 2
    np.testing.assert_allclose(
        models(store)["Ann"], np.array([0.5**0.5, 1 + 0.5**0.5]) / 1.8477591, atol=1e-6
    )
    store.withdraw([*first.clip_ids[1:], *second.clip_ids])
    assert models(store) == {}
    assert sorted(one.state for one in store.clips()) == ["withdrawn"] * 3
    with pytest.raises(DataError, match="is withdrawn"):
        store.withdraw(first.clip_ids)
    with pytest.raises(DataError, match="is not there"):
        store.withdraw(["0" * 32])
    with pytest.raises(DataError, match="no clip"):
        store.withdraw([])
    bob = store.enrol([clip(1, 0)], name="Bob")
    with pytest.raises(DataError, match="not of speaker"):
        store.replace(first.speaker_id, bob.clip_ids, [clip(1, 1)])
    assert models(store) == {"Bob": [1, 0]}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE clips SET embedding = embedding",
        "UPDATE clips SET speech_s = 9, source = 'b'",
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "INSERT INTO clips SELECT * FROM clips",
    ],
)
def test_the_database_itself_keeps_clips_and_audit(store, sql):
    store.enrol([clip(1, 0)], name="Ann")
    with pytest.raises(DataError, match="the voiceprint store cannot be used"), store.change():
        store.database.run(sql)
    assert len(store.audit()) == len(store.clips()) == 1


def test_galleries_are_sets_of_speakers(store):
    store.add_gallery("board")
    ann = store.enrol([clip(1, 0)], name="Ann", galleries=["board"]).speaker_id
    bob = store.enrol([clip(0, 1)], name="Bob").speaker_id
    store.join("board", [ann])
    assert store.galleries() == {"board": 1}
    assert models(store, gallery="board") == {"Ann": [1, 0]}
    store.join("board", [bob])
    assert [one.name for one in store.speakers("board")] == ["Ann", "Bob"]
    store.leave("board", [ann])
    assert models(store, gallery="board") == {"Bob": [0, 1]}
    assert models(store, speaker_ids=[ann, "none"]) == {"Ann": [1, 0]}
    store.remove_gallery("board")
    assert store.galleries() == {}
    assert len(models(store)) == 2
    for action in (
        lambda: store.join("board", [ann]),
        lambda: store.speakers("board"),
        lambda: models(store, gallery="board"),
        lambda: store.enrol([clip(1, 0)], name="Eve", galleries=["board"]),
    ):
        with pytest.raises(DataError, match="there is no gallery 'board'"):
            action()
    assert store.find("Eve") is None
    store.add_gallery("board")
    with pytest.raises(DataError, match="a gallery 'board' already"):
        store.add_gallery(" board")
    with pytest.raises(DataError, match="there is no speaker 'x'"):
        store.join("board", ["x"])


def test_pages_of_speakers(store):
    for name in ("b", "a", "Z", "é", "名"):
        store.add_speaker(name)
    assert [one.name for one in store.speakers()] == ["Z", "a", "b", "é", "名"]  # by code point everywhere
    assert [one.name for one in store.speakers(after="a", limit=2)] == ["b", "é"]


def test_names_change_and_stay_one_persons(store):
    ann = store.add_speaker("Ann")
    store.add_speaker("Bob")
    with pytest.raises(DataError, match="a speaker called 'Bob' already"):
        store.rename(ann.speaker_id, "Bob ")
    store.rename(ann.speaker_id, "Ann Smith")
    assert store.find("Ann") is None
    assert store.speaker(ann.speaker_id).name == "Ann Smith"
    with pytest.raises(DataError, match="a speaker called 'Bob' already"):
        store.add_speaker("Bob")
    with pytest.raises(DataError, match="there is no speaker 'x'"):
        store.enrol([clip(1, 0)], speaker_id="x")
    with pytest.raises(DataError, match="one of them"):
        store.enrol([clip(1, 0)])


def test_the_review_list_waits_and_is_capped(store):
    store.set(review_cap=2)
    store.add_gallery("board")
    why = ["sounds like Bob, already enrolled", "1.2 s of speech"]
    done = store.enrol([clip(1, 0), clip(0, 1)], name="Ann", galleries=["board"], review=why)
    assert (done.state, done.num_clips) == ("review", 0)
    assert models(store) == {}
    assert store.galleries() == {"board": 0}
    assert [one.review for one in store.review()] == [tuple(why)] * 2
    assert (store.speakers()[0].num_clips, store.speakers()[0].num_review) == (0, 2)
    with pytest.raises(DataError, match="the review list is full: 2 clips wait, 2 may; accept or withdraw"):
        store.enrol([clip(1, 0)], name="Eve", review=["x"])
    assert store.find("Eve") is None
    store.accept(done.clip_ids[:1])
    store.withdraw(done.clip_ids[1:])
    assert store.review() == []
    assert models(store, gallery="board") == {"Ann": [1, 0]}
    with pytest.raises(DataError, match="is enrolled"):
        store.accept(done.clip_ids[:1])


def test_consent_can_be_demanded_and_ends(store, clock):
    store.set(consent_required=True)
    with pytest.raises(DataError, match=r"a\.wav: this store demands a consent; give --consent"):
        store.enrol([clip(1, 0)], name="Ann")
    with pytest.raises(DataError, match="consent 'c1' is over"):
        store.enrol([clip(1, 0, consent=Consent("c1", None, clock.now))], name="Ann")
    store.enrol([clip(1, 0, consent=Consent("c1", clock.now + 10, clock.now + 20))], name="Ann")
    seen = store.changes_since(0)
    for moment, expected in ((0, {}), (10, {"Ann": [1, 0]}), (19.9, {"Ann": [1, 0]}), (20, {})):
        clock.now = 1_800_000_000.0 + moment
        assert models(store) == expected, moment
    assert store.changes_since(seen.revision, seen.time_s).changed == seen.changed
    assert store.changes_since(seen.revision).changed == ()
    for period in ((5.0, 4.0), (math.nan, None)):
        with pytest.raises(DataError, match="a period that ends after it starts"):
            Consent("c2", *period)
    with pytest.raises(DataError, match="no setting 'consent'"):
        store.set(consent=True)


def test_each_change_has_a_revision_and_is_told_once(store):
    assert store.changes_since(0).changed == ()
    ann = store.enrol([clip(1, 0)], name="Ann")
    bob = store.enrol([clip(0, 1)], name="Bob")
    first = store.changes_since(0)
    assert (first.revision, first.changed) == (2, tuple(sorted([ann.speaker_id, bob.speaker_id])))
    assert store.changes_since(first.revision).changed == ()
    store.rename(ann.speaker_id, "Anna")
    assert store.changes_since(first.revision).changed == (ann.speaker_id,)
    store.withdraw(bob.clip_ids)
    news = store.changes_since(3)
    assert (news.revision, news.changed, news.removed, news.is_complete) == (4, (bob.speaker_id,), (), True)
    assert not store.changes_since(5).is_complete  # a store that went back, to a backup
    with pytest.raises(DataError):
        store.withdraw(["x"])
    assert store.revision == 4


def test_the_audit_knows_who_did_what_to_whom(store, clock):
    ann = store.enrol([clip(1, 0), clip(0, 1)], name="Ann").speaker_id
    clock.now += 5
    store.acting_as("key:7").rename(ann, "Anna")
    store.add_gallery("board")
    store.join("board", [ann])
    entries = store.audit()
    assert [(one.revision, one.actor, one.action, one.num_clips, one.gallery) for one in entries] == [
        (1, "tester", "enrol", 2, None),
        (2, "key:7", "rename", 0, None),
        (3, "tester", "add gallery", 0, "board"),
        (4, "tester", "join", 0, "board"),
    ]
    assert [one.speaker_id for one in entries] == [ann, ann, None, ann]
    assert entries[1].time_s == entries[0].time_s + 5
    assert [one.revision for one in store.audit(2, speaker_id=ann)] == [4]
    assert [one.revision for one in store.audit(limit=1)] == [1]


def test_threads_share_a_store(store):
    def enrol(number):
        for count in range(10):
            store.acting_as(f"t{number}").enrol([clip(1, count + 1)], name=f"speaker {number}")
            store.models("hash-1", directions)

    threads = [threading.Thread(target=enrol, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.num_clips for one in store.speakers()] == [10] * 4
    assert store.revision == 40


def test_another_version_is_refused(place, store):
    with store.database.transaction(write=True):
        store.database.run("UPDATE store SET version = 2")
    why = "is a voiceprint store of version 2, and this program reads 1; use the program that wrote it"
    with pytest.raises(DataError, match=why):
        VoiceprintStore.open(place)


def test_a_store_that_is_not_there_is_not_made_by_reading(place):
    with pytest.raises(DataError, match="nobody is enrolled here; run: speakerlab enroll NAME AUDIO"):
        VoiceprintStore.open(place, create=False)
    VoiceprintStore.open(place).close()
    VoiceprintStore.open(place, create=False).close()
