"""The server's own processes are killed: it recovers, and what was acknowledged is there.

run.sh runs this file by itself: every other connection to the server is cut too.
"""

import os
import random
import signal
import time

import psycopg
from test_voiceprint_faults import check_whole, child, enrol_all, next_free

from speakerlab.errors import DataError
from speakerlab.voiceprint.store import VoiceprintStore

NUM_KILLS = 10


def reopened(place):
    """The store, as soon as the server has recovered."""
    for _ in range(600):
        try:
            return VoiceprintStore.open(place)
        except DataError:
            time.sleep(0.1)
    raise AssertionError("the server did not come back within a minute")


def test_a_server_that_is_killed_10_times_loses_nothing(place):
    draw, acknowledged = random.Random(0), set()
    VoiceprintStore.open(place).close()
    for _ in range(NUM_KILLS):
        with reopened(place) as store:
            start = next_free(store, len(acknowledged))
        reading, writing = os.pipe()
        pid = child(enrol_all, place, start, writing)
        os.close(writing)
        told = os.read(reading, 4)
        time.sleep(draw.uniform(0, 0.1))
        with psycopg.connect(place, autocommit=True) as other:
            others = (
                "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            ((backend,),) = other.execute(f"SELECT pid FROM pg_stat_activity WHERE {others}").fetchall()
            os.kill(backend, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] != 0  # the child heard of it
        while data := os.read(reading, 4096):
            told += data
        os.close(reading)
        acknowledged |= {int.from_bytes(told[i : i + 4], "little") for i in range(0, len(told), 4)}
        with reopened(place) as store:
            check_whole(store, acknowledged)
            acknowledged |= {int(name[1:]) for name in store.names().values()}
    assert len(acknowledged) > NUM_KILLS
