"""Export, import, backups, the folder of earlier versions, and the move to another model."""

import json
import threading
import urllib.parse

import numpy as np
import pytest
from conftest import new_place
from test_voiceprint_store import Clock, clip, models

from speakerlab.errors import AudioError, DataError
from speakerlab.pipeline.sources import find_one
from speakerlab.voiceprint.audio_folder import keep
from speakerlab.voiceprint.records import Consent, Voiceprint
from speakerlab.voiceprint.reembed import re_embed
from speakerlab.voiceprint.store import VoiceprintStore
from speakerlab.voiceprint.transfer import back_up, export, load


@pytest.fixture
def store(place):
    with VoiceprintStore.open(place, actor="tester", clock=Clock()) as found:
        yield found


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other").mkdir()
    with new_place(tmp_path / "other") as place, VoiceprintStore.open(place) as found:
        yield found


def fill(store):
    """Two people, three states, a gallery, every kind of value."""
    store.add_gallery("board")
    embedding = np.random.default_rng(0).normal(size=192).astype(np.float32)
    told = Voiceprint(
        embedding, "m", "a\u2028 \"b\".wav", None, "campplus", ("clipped",), "rule", Consent("c", 1.5, None),
        "a" * 32,
    )  # fmt: skip
    store.enrol([told], name="Ann 名", galleries=["board"])
    store.clock.now += 1
    ann = store.enrol([clip(1, 0)], name="Ann 名")
    store.withdraw(ann.clip_ids)
    store.enrol([clip(0, 1)], name="Bob", review=["why"], galleries=["board"])
    return ann


def everything(store):
    """All that an export holds, in an order of its own."""
    clips = {
        one.clip_id: (
            one.speaker_id, one.state, one.review, one.galleries, one.added_s, one.withdrawn_s,
            one.voiceprint.embedding.tobytes(),
            *(getattr(one.voiceprint, n) for n in one.voiceprint.__dataclass_fields__ if n != "embedding"),
        )
        for one in store.clips()
    }  # fmt: skip
    members = {name: store.speakers(name) for name in store.galleries()}
    return store.speakers(), clips, members


def test_an_export_comes_back_to_the_bit_and_may_be_repeated(store, other, tmp_path):
    fill(store)
    path = tmp_path / "people.jsonl"
    assert export(store, path) == (2, 3)
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert all(json.loads(line) for line in path.read_text().split("\n")[:-1])
    assert load(other, path) == (2, 3)
    assert everything(other) == everything(store)
    assert load(other, path) == (0, 0)
    assert everything(other) == everything(store)
    assert [one.action for one in other.audit()].count("import") == 4
    export(other, tmp_path / "again.jsonl")
    lines = [file.read_text().split("\n", 1)[1] for file in (path, tmp_path / "again.jsonl")]
    assert lines[0] == lines[1]  # but for the revision in the first


def test_one_persons_export_holds_nobody_else(store, tmp_path):
    ann = fill(store)
    assert export(store, tmp_path / "ann.jsonl", [ann.speaker_id]) == (1, 2)
    assert "Bob" not in (tmp_path / "ann.jsonl").read_text()
    told = [(one.action, one.speaker_id, one.num_clips) for one in store.audit()]
    assert told[-1] == ("export", ann.speaker_id, 2)
    with pytest.raises(DataError, match=r"ann\.jsonl: exists already; name a new file"):
        export(store, tmp_path / "ann.jsonl")
    with pytest.raises(DataError, match="there is no speaker"):
        export(store, tmp_path / "none.jsonl", ["x"])
    assert not (tmp_path / "none.jsonl").exists()


def damaged(line, change):
    row = json.loads(line)
    change(next(iter(row.values())))
    return json.dumps(row)


@pytest.mark.parametrize(
    ("number", "change", "why"),
    [
        (3, lambda one: one.update(id="../../etc/passwd"), "not an intact line"),
        (3, lambda one: one.update(name="a\nb"), "cannot be a name"),
        (3, lambda one: one.update(name=5), "not an intact line"),
        (4, lambda one: one.update(embedding="AAAA"), "not an intact line"),
        (4, lambda one: one.update(embedding=""), "a vector of finite numbers"),
        (4, lambda one: one.update(embedding="AADAfwAAwH8="), "finite numbers"),
        (4, lambda one: one.update(embedding="AAAAAA=="), "length zero"),
        (4, lambda one: one.update(speaker="0" * 32), "not an intact line"),
        (4, lambda one: one.update(state="gone"), "not an intact line"),
        (4, lambda one: one.update(audio="../x"), "not an intact line"),
        (4, lambda one: one.update(consent=["", None, None]), "consent"),
        (4, lambda one: one.pop("model"), "not an intact line"),
        (4, lambda one: one.update(withdrawn_s=3.0), "not an intact line"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_imported(store, other, tmp_path, number, change, why):
    fill(store)
    path = tmp_path / "people.jsonl"
    export(store, path)
    lines = path.read_text().split("\n")[:-1]
    lines[number - 1] = damaged(lines[number - 1], change)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"people\.jsonl:{number}: .*{why}"):
        load(other, path)
    assert (other.speakers(), other.galleries(), other.revision) == ([], {}, 0)


@pytest.mark.parametrize(
    "cut",
    [
        lambda _: "",
        lambda text: text.rsplit("\n", 2)[0] + "\n",
        lambda text: text[: len(text) // 2],
        lambda text: "\n".join(text.split("\n")[:3] + text.split("\n")[4:]),
        lambda text: text.replace("speakerlab voiceprints", "other"),
        lambda _: "[]\n",
        lambda _: "\udcff",
    ],
)
def test_a_file_that_was_cut_off_is_refused(store, other, tmp_path, cut):
    fill(store)
    path = tmp_path / "people.jsonl"
    export(store, path)
    path.write_text(cut(path.read_text()), errors="surrogateescape")
    with pytest.raises(DataError, match=r"people.jsonl(:\d+)?: is (not an intact|cut off)"):
        load(other, path)
    assert other.revision == 0


def test_an_import_may_not_lack_the_consent_that_is_demanded(store, other, tmp_path):
    fill(store)
    export(store, tmp_path / "people.jsonl")
    other.set(consent_required=True)
    with pytest.raises(DataError, match=r"people\.jsonl:5: a\.wav: this store demands a consent"):
        load(other, tmp_path / "people.jsonl")
    assert other.speakers() == []
    with pytest.raises(DataError, match="-1 clips are no limit"):
        other.set(review_cap=-1)


def test_a_name_that_another_speaker_has_is_refused(store, other, tmp_path):
    fill(store)
    export(store, tmp_path / "people.jsonl")
    other.add_speaker("Bob")
    with pytest.raises(DataError, match=r"people.jsonl:6: there is a speaker called 'Bob' already"):
        load(other, tmp_path / "people.jsonl")
    assert [one.name for one in other.speakers()] == ["Bob"]


def write_json(folder, name, **changes):
    folder.mkdir(exist_ok=True)
    rows = [{"embedding": [3.0, 0.1], "source": "a.wav", "speech_s": 2.5}]
    content = {"name": name, "model": "hash-1", "voiceprints": rows, **changes}
    (folder / f"{urllib.parse.quote(name, safe=' ')}.json").write_text(
        json.dumps(content, ensure_ascii=False)
    )


def test_the_folder_of_earlier_versions_is_imported_once(store, tmp_path):
    write_json(tmp_path / "people", "Ann/名")
    write_json(tmp_path / "people", "Bob")
    store.enrol([clip(1, 1)], name="Bob")
    assert load(store, tmp_path / "people") == (1, 2)
    assert load(store, tmp_path / "people") == (0, 0)
    assert {one.name: one.num_clips for one in store.speakers()} == {"Ann/名": 1, "Bob": 2}
    (ann,) = store.clips(store.find("Ann/名").speaker_id)
    assert ann.voiceprint.embedding.tolist() == [3.0, np.float32(0.1)]
    assert (ann.voiceprint.source, ann.voiceprint.speech_s, ann.voiceprint.model) == ("a.wav", 2.5, "hash-1")
    with pytest.raises(DataError, match="holds no JSON files of people"):
        load(store, tmp_path)
    with pytest.raises(DataError, match="is a folder of JSON files, .* run: speakerlab store import"):
        VoiceprintStore.open(tmp_path / "people")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda text: text.replace("Ann", "Bob"),
        lambda text: text.replace("3.0", "NaN"),
        lambda text: text.replace("3.0, 0.1", "0, 0"),
        lambda text: json.dumps({**json.loads(text), "voiceprints": []}),
        lambda _: "[]",
    ],
)
def test_a_damaged_file_of_earlier_versions_is_named(store, tmp_path, damage):
    write_json(tmp_path / "people", "Ann")
    write_json(tmp_path / "people", "Aaron")
    file = tmp_path / "people" / "Ann.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(DataError, match=r"Ann.json: is not an intact voiceprint file; remove it"):
        load(store, tmp_path / "people")
    assert store.speakers() == []


def test_a_backup_is_the_whole_store_and_goes_back(place, store, tmp_path):
    fill(store)
    path = tmp_path / "copy.db"
    back_up(store, path)
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert sorted(one.name for one in tmp_path.glob("*copy.db*")) == ["copy.db"]
    with VoiceprintStore.open(path, create=False) as copy:
        assert everything(copy) == everything(store)
        assert copy.audit() == store.audit()
        assert (copy.revision, copy.settings()) == (store.revision, store.settings())
        assert copy.database.rows("PRAGMA integrity_check") == [("ok",)]
        with pytest.raises(DataError, match="cannot be used: the audit is append-only"):
            copy.database.run("DELETE FROM audit")
        copy.enrol([clip(1, 0)], name="Eve")  # it goes on as a store
        (tmp_path / "back").mkdir()
        if place.startswith("postgresql"):
            with new_place(tmp_path / "back") as empty:
                back_up(copy, empty)
                with VoiceprintStore.open(empty) as restored:
                    assert everything(restored) == everything(copy)
                    assert restored.audit() == copy.audit()
                    restored.enrol([clip(1, 0)], name="Dan")
            with pytest.raises(DataError, match="is not empty"):
                back_up(copy, place)
    with pytest.raises(DataError, match=r"copy\.db: exists already; name a new file"):
        back_up(store, path)


def test_a_backup_while_others_write_is_one_state(place, store, tmp_path):
    stop = threading.Event()

    def write():
        with VoiceprintStore.open(place) as writer:
            number = 0
            while not stop.is_set():
                writer.enrol([clip(1, number), clip(2, number)], name=f"p{number}")
                number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while store.revision < 20:
            pass
        for number in range(5):
            back_up(store, tmp_path / f"{number}.db")
    finally:
        stop.set()
        thread.join()
    revisions = []
    for number in range(5):
        with VoiceprintStore.open(tmp_path / f"{number}.db") as copy:
            done = [one.action for one in copy.audit()]
            assert done.count("backup") == number + 1
            assert len(copy.speakers()) == done.count("enrol") == copy.revision - number - 1
            assert {one.num_clips for one in copy.speakers()} == {2}
            revisions.append(copy.revision)
    assert revisions == sorted(revisions)
    assert revisions[-1] > 20


def test_another_model_takes_over_where_recordings_were_kept(store, tmp_path):
    folder = tmp_path / "kept"
    store.set(audio_folder=str(folder))
    samples = [np.full(16000, level, np.float32) for level in (0.25, 0.5, 0.75)]
    stems = keep(str(folder), [find_one(one, 16000) for one in samples])
    consent = Consent("c1")
    store.enrol([clip(1, 0, audio=stems[0], consent=consent, source="x.wav"), clip(0, 1)], name="Ann")
    store.enrol([clip(1, 1)], name="Bob")
    store.enrol([clip(1, 1, audio=stems[1])], name="Cid")
    store.enrol([clip(1, 1, audio=stems[2])], name="Dan")
    (folder / f"{stems[1]}.flac").unlink()

    def embed(path):
        if path.stem == stems[2]:
            raise AudioError(path.name, "is damaged")
        return clip(0.25, 1, 1, model="hash-2")

    done = re_embed(store, "hash-2", embed)
    assert (done.moved, done.again, done.failed) == (
        1,
        ("Bob", "Cid", "Dan"),
        (f"{stems[2]}.flac: is damaged",),
    )
    assert list(models(store, "hash-2")) == ["Ann"]
    assert models(store, "hash-1")["Ann"] == [0, 1]
    (fresh,) = [one for one in store.clips() if one.voiceprint.model == "hash-2"]
    assert (fresh.voiceprint.consent, fresh.voiceprint.source, fresh.voiceprint.audio) == (
        consent,
        "x.wav",
        stems[0],
    )
    again = re_embed(store, "hash-2", embed)
    assert (again.moved, again.again) == (0, ("Bob", "Cid", "Dan"))
