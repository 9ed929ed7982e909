"""What was acknowledged survives a SIGKILL at any place; processes see each other's changes."""

import os
import random
import signal
import struct
import time
from multiprocessing.connection import wait

import numpy as np
import pytest
from test_voiceprint_store import clip, models

from speakerlab.errors import DataError
from speakerlab.voiceprint.erasure import erase
from speakerlab.voiceprint.records import Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

NUM_ENROLMENTS, NUM_KILLS = 1000, 50


def embeddings(number):
    """The two clips of enrolment ``number``."""
    return np.random.default_rng(number).normal(size=(2, 64)).astype(np.float32)


def enrol_all(place, start, pipe):
    """A child's whole life: enrol speaker after speaker, and tell the number of each that returned."""
    with VoiceprintStore.open(place, actor="child") as store:
        for number in range(start, NUM_ENROLMENTS):
            rows = embeddings(number)
            store.enrol([Voiceprint(row, "m", f"{number}.wav") for row in rows], name=f"s{number:04}")
            os.write(pipe, struct.pack("<i", number))


def child(function, *arguments):
    """The id of a process that calls ``function`` and ends."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function(*arguments)
            status = 0
        finally:
            os._exit(status)
    return pid


def killed_after(pid, pipe, number, delay_s):
    """Numbers acknowledged by a child that is killed ``delay_s`` after the first ``number`` of them."""
    told = b""
    while len(told) < 4 * number:
        if not (data := os.read(pipe, 4096)):
            break
        told += data
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while wait([pipe], 0) and (data := os.read(pipe, 4096)):
        told += data
    return [value for (value,) in struct.iter_unpack("<i", told[: len(told) // 4 * 4])]


def next_free(store, start):
    """The first enrolment from ``start`` on that is not there: one that nobody heard of may be.

    A server may still commit for a child that was killed after it had sent the word; it holds the lock that
    the update waits for.
    """
    with store.database.transaction(write=True):
        store.database.run("UPDATE store SET revision = revision")
        while store.find(f"s{start:04}") is not None:
            start += 1
    return start


def check_whole(store, acknowledged):
    """Every acknowledged enrolment is there, every other one is whole or not there."""
    clips = {}
    for one in store.clips():
        clips.setdefault(one.speaker_id, []).append(one.voiceprint.embedding.tobytes())
    names = store.names()
    assert acknowledged <= {int(name[1:]) for name in names.values()}
    for speaker_id, name in names.items():
        assert sorted(clips[speaker_id]) == sorted(row.tobytes() for row in embeddings(int(name[1:]))), name
    assert len(clips) == len(names)
    audited = [one.speaker_id for one in store.audit() if one.action == "enrol"]
    assert sorted(audited) == sorted(names)
    assert store.revision == len(names)


def test_a_sigkill_at_50_places_of_1000_enrolments_loses_nothing(place):
    draw = random.Random(0)
    VoiceprintStore.open(place).close()
    acknowledged, kills = set(), 0
    while kills < NUM_KILLS:
        reading, writing = os.pipe()
        start = max(acknowledged, default=-1) + 1
        with VoiceprintStore.open(place) as store:
            start = next_free(store, start)
        left = NUM_ENROLMENTS - start
        pid = child(enrol_all, place, start, writing)
        os.close(writing)
        share = max(1, 2 * left // (NUM_KILLS - kills))
        told = killed_after(pid, reading, draw.randrange(0, share), draw.uniform(0, 0.01))
        os.close(reading)
        acknowledged |= set(told)
        kills += 1
        if kills % 10 == 0:
            with VoiceprintStore.open(place) as store:
                check_whole(store, acknowledged)
    reading, writing = os.pipe()
    with VoiceprintStore.open(place) as store:
        start = len(store.names())
    os.waitpid(child(enrol_all, place, start, writing), 0)
    os.close(reading)
    os.close(writing)
    with VoiceprintStore.open(place) as store:
        check_whole(store, set(range(NUM_ENROLMENTS)))
        if not place.startswith("postgresql"):
            assert store.database.rows("PRAGMA integrity_check") == [("ok",)]
            assert store.database.rows("PRAGMA foreign_key_check") == []


def test_a_rolled_back_change_leaves_nothing(place):
    with VoiceprintStore.open(place) as store:
        with pytest.raises(ZeroDivisionError), store.change():
            store.enrol([clip(1, 0)], name="Ann")
            _ = 1 / 0
        assert (store.speakers(), store.revision, store.audit()) == ([], 0, [])
        store.enrol([clip(1, 0)], name="Ann")
    with VoiceprintStore.open(place) as store:
        assert models(store) == {"Ann": [1, 0]}


def enrol_number(place, number):
    with VoiceprintStore.open(place) as store:
        for count in range(20):
            store.enrol([clip(1, number, count, model="m")], name="Ann")
            store.enrol([clip(1, number, count, model="m")], name=f"p{number}-{count}")


def test_writers_in_several_processes_lose_nothing_and_none_makes_a_speaker_twice(place):
    writers = [child(enrol_number, place, number) for number in range(3)]  # all three make the tables
    assert [os.waitpid(pid, 0)[1] for pid in writers] == [0, 0, 0]
    with VoiceprintStore.open(place) as store:
        assert store.find("Ann").num_clips == 60
        assert len(store.speakers()) == 61
        assert store.revision == 120


def test_two_processes_see_each_others_changes(place):
    """Here two connections; the child of the last lines is another process."""
    with VoiceprintStore.open(place) as first, VoiceprintStore.open(place) as second:
        seen = second.changes_since(0)
        ann = first.enrol([clip(1, 0)], name="Ann").speaker_id
        news = second.changes_since(seen.revision, seen.time_s)
        assert news.changed == (ann,)
        assert models(second, speaker_ids=news.changed) == {"Ann": [1, 0]}
        erase(second, ann)
        assert first.changes_since(news.revision).removed == (ann,)
        assert models(first) == {}
        pid = child(enrol_number, place, 7)
        assert os.waitpid(pid, 0)[1] == 0
        assert second.find("p7-19").num_clips == 1


def test_a_child_of_fork_opens_a_connection_of_its_own(place):
    with VoiceprintStore.open(place) as store:
        store.enrol([clip(1, 0)], name="Ann")
        pid = child(
            store.enrol,
            [clip(0, 1)],
        )  # no name: an error, in the child alone
        assert os.waitpid(pid, 0)[1] != 0

        def enrol():
            store.enrol([clip(0, 1)], name="Bob")

        assert os.waitpid(child(enrol), 0)[1] == 0
        store.enrol([clip(1, 1)], name="Eve")
        assert [one.name for one in store.speakers()] == ["Ann", "Bob", "Eve"]


def test_a_store_that_is_closed_is_one_line(place):
    store = VoiceprintStore.open(place)
    store.close()
    store.close()
    if place.startswith("postgresql"):
        assert store.speakers() == []  # opened again, as after a restart of the server
        return
    with pytest.raises(DataError, match="the voiceprint store cannot be used"):
        store.speakers()
