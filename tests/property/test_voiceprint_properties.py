"""The store against a dictionary: any sequence of changes, read back, and followed by revision."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import new_place
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from speakerlab.errors import DataError
from speakerlab.voiceprint.erasure import Retention, erase, retain
from speakerlab.voiceprint.records import Consent, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

NAMES = st.sampled_from(["Ann", "Bob", "名", "a/../b", "José", "Jose\u0301"])
GALLERIES = st.sampled_from(["board", "staff"])
VECTORS = st.tuples(*[st.integers(-3, 3)] * 3).filter(any)
MODELS = st.sampled_from(["m1", "m2"])


def directions(embeddings):
    return embeddings.astype(np.float64) / np.linalg.norm(embeddings, axis=1, keepdims=True)


def nfc(name):
    return "José" if name.startswith("Jos") else name


class StoreAgainstDictionary(RuleBasedStateMachine):
    """``people``: name -> {clip id: (model, vector, state, end of consent)}; ``members``: names."""

    clips = Bundle("clips")

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        place = self.stack.enter_context(new_place(Path(folder)))
        self.now = 1000.0
        self.store = self.stack.enter_context(VoiceprintStore.open(place, clock=lambda: self.now))
        self.other = self.stack.enter_context(VoiceprintStore.open(place, clock=lambda: self.now))
        self.people, self.members, self.ids = {}, {}, {}
        self.seen, self.replica = self.other.changes_since(0), {}
        self.num_audited = 0

    def teardown(self):
        self.stack.close()

    @initialize()
    def galleries(self):
        for name in ("board", "staff"):
            self.store.add_gallery(name)
            self.members[name] = set()

    @rule(
        target=clips,
        name=NAMES,
        model=MODELS,
        vector=VECTORS,
        reviewed=st.booleans(),
        ends=st.sampled_from([None, 5, 20]),
    )
    def enrol(self, name, model, vector, reviewed, ends):
        end = None if ends is None else self.now + ends
        consent = None if end is None else Consent("c", None, end)
        told = Voiceprint(np.array(vector, np.float32), model, "a.wav", consent=consent)
        done = self.store.enrol([told], name=name, review=["x"] if reviewed else [])
        self.ids[nfc(name)] = done.speaker_id
        state = "review" if reviewed else "enrolled"
        self.people.setdefault(nfc(name), {})[done.clip_ids[0]] = [model, vector, state, end]
        return nfc(name), done.clip_ids[0]

    def state(self, one):
        name, clip_id = one
        return self.people.get(name, {}).get(clip_id, [None] * 4)[2]

    @rule(one=clips)
    def accept(self, one):
        if self.state(one) == "review":
            self.store.accept([one[1]])
            self.people[one[0]][one[1]][2] = "enrolled"
        else:
            with pytest.raises(DataError):
                self.store.accept([one[1]])

    @rule(one=consumes(clips))
    def withdraw(self, one):
        if self.state(one) in {"review", "enrolled"}:
            self.store.withdraw([one[1]])
            self.people[one[0]][one[1]][2] = "withdrawn"
        else:
            with pytest.raises(DataError):
                self.store.withdraw([one[1]])

    @rule(name=NAMES, gallery=GALLERIES, joins=st.booleans())
    def move(self, name, gallery, joins):
        if nfc(name) not in self.people:
            return
        action = self.store.join if joins else self.store.leave
        action(gallery, [self.ids[nfc(name)]])
        (self.members[gallery].add if joins else self.members[gallery].discard)(nfc(name))

    @rule(name=NAMES)
    def erase(self, name):
        found = self.store.find(name)
        assert (found is None) == (nfc(name) not in self.people)
        if found:
            erase(self.store, found.speaker_id)
            self.drop(nfc(name))

    def drop(self, name):
        del self.people[name], self.ids[name]
        for members in self.members.values():
            members.discard(name)

    @rule()
    def retain(self):
        retain(self.store, Retention())
        for name, clips in list(self.people.items()):
            due = [clip_id for clip_id, (*_, end) in clips.items() if end is not None and end <= self.now]
            for clip_id in due:
                del clips[clip_id]
            if due and not clips:
                self.drop(name)

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds):
        self.now += seconds

    def expected(self, model, names):
        """Speaker models by name, computed one by one."""
        found = {}
        for name in names:
            rows = [
                np.array(vector, float) / np.linalg.norm(vector)
                for one, vector, state, end in self.people[name].values()
                if one == model and state == "enrolled" and (end is None or end > self.now)
            ]
            mean = np.mean(rows, axis=0) if rows else np.zeros(3)
            if np.linalg.norm(mean) > 1e-6:
                found[name] = mean / np.linalg.norm(mean)
        return found

    def check(self, table, expected):
        names = {speaker_id: name for name, speaker_id in self.ids.items()}
        assert {names[one] for one in table.ids} == set(expected)
        for one, row in zip(table.ids, table.matrix, strict=True):
            np.testing.assert_allclose(row, expected[names[one]], atol=1e-5)

    @invariant()
    def everybody_is_there(self):
        told = {one.name: (one.speaker_id, one.num_clips, one.num_review) for one in self.other.speakers()}
        states = {name: [one[2] for one in clips.values()] for name, clips in self.people.items()}
        assert told == {
            name: (self.ids[name], found.count("enrolled"), found.count("review"))
            for name, found in states.items()
        }
        assert {one.clip_id for one in self.other.clips()} == {
            i for clips in self.people.values() for i in clips
        }

    @invariant()
    def models_are_the_means(self):
        for model in ("m1", "m2"):
            self.check(self.other.models(model, directions), self.expected(model, self.people))
        for gallery, members in self.members.items():
            self.check(self.other.models("m1", directions, gallery=gallery), self.expected("m1", members))

    @invariant()
    def who_follows_by_revision_knows_the_same(self):
        news = self.other.changes_since(self.seen.revision, self.seen.time_s)
        assert news.is_complete
        assert news.revision >= self.seen.revision
        for speaker_id in (*news.changed, *news.removed):
            self.replica.pop(speaker_id, None)
        table = self.other.models("m1", directions, speaker_ids=news.changed)
        self.replica.update(zip(table.ids, table.matrix, strict=True))
        whole = self.other.models("m1", directions)
        assert {one: row.tolist() for one, row in self.replica.items()} == {
            one: row.tolist() for one, row in zip(whole.ids, whole.matrix, strict=True)
        }
        self.seen = news

    @invariant()
    def the_audit_only_grows(self):
        entries = self.other.audit()
        assert len(entries) >= self.num_audited
        self.num_audited = len(entries)
        assert [one.revision for one in entries] == sorted(one.revision for one in entries)
        assert {one.speaker_id for one in entries} <= {None, *self.ids.values()}


StoreAgainstDictionary.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreAgainstDictionary = StoreAgainstDictionary.TestCase
