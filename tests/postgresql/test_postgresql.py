"""What is PostgreSQL's own; the tests of the store itself run here too, see run.sh."""

import threading

import psycopg
import pytest
from test_voiceprint_store import clip, models

from speakerlab.bin import manage_store
from speakerlab.errors import DataError
from speakerlab.voiceprint.store import VoiceprintStore


def test_these_tests_are_on_postgresql(place):
    assert place.startswith("postgresql://")
    with VoiceprintStore.open(place) as store:
        assert store.database.rows("SELECT version()")[0][0].startswith("PostgreSQL")
        assert store.database.rows("SHOW synchronous_commit") == [("on",)]


def test_a_connection_that_was_cut_is_opened_again(place):
    with VoiceprintStore.open(place) as store:
        store.enrol([clip(1, 0)], name="Ann")
        with psycopg.connect(place, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert models(store) == {"Ann": [1, 0]}
        store.enrol([clip(0, 1)], name="Bob")
        assert store.revision == 2


def test_a_connection_that_is_cut_in_a_change_loses_all_of_it(place):
    with VoiceprintStore.open(place) as store:
        with pytest.raises(DataError, match="the voiceprint store cannot be used"), store.change():
            store.enrol([clip(1, 0)], name="Ann")
            with psycopg.connect(place, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            store.enrol([clip(1, 0)], name="Bob")
        assert store.speakers() == []
        store.enrol([clip(1, 0)], name="Ann")
        assert store.revision == 1


@pytest.mark.parametrize("password", ["secret", "sec%ret"])  # libpq quotes a percent sign it cannot read
def test_no_server_is_one_line_without_a_password(password):
    with pytest.raises(DataError) as caught:
        VoiceprintStore.open(f"postgresql://user:{password}@127.0.0.1:1/people")
    told = str(caught.value)
    assert told.startswith("postgresql://user@127.0.0.1:1/people: the voiceprint store cannot be used: ")
    assert password not in told
    assert "\n" not in told


def test_the_tables_cannot_be_emptied_behind_the_audit(place):
    with VoiceprintStore.open(place) as store:
        store.enrol([clip(1, 0)], name="Ann")
        with pytest.raises(DataError, match="the audit is append-only"):
            store.database.run("TRUNCATE audit")
        assert len(store.audit()) == 1


def test_other_tables_of_the_database_stay_apart(place):
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("CREATE TABLE speakers (films TEXT)")
        with VoiceprintStore.open(place) as store:
            store.enrol([clip(1, 0)], name="Ann")
        assert connection.execute("SELECT COUNT(*) FROM speakers").fetchone() == (0,)
        assert connection.execute("SELECT COUNT(*) FROM voiceprints.speakers").fetchone() == (1,)
        connection.execute("DROP TABLE speakers")


def test_revisions_are_committed_in_their_order(place):
    """A reader of changes misses none: a second writer waits for the first one's commit."""
    with VoiceprintStore.open(place) as first, VoiceprintStore.open(place) as second:
        done = []
        with first.change() as revision:
            thread = threading.Thread(target=lambda: done.append(second.add_speaker("Bob")))
            thread.start()
            thread.join(0.3)
            assert (revision, done) == (1, [])
            with VoiceprintStore.open(place) as reader:
                assert reader.revision == 0
        thread.join()
        assert (len(done), first.revision) == (1, 2)


def test_the_command_takes_a_url(place, capsys):
    arguments = manage_store.options().parse_args(["settings", "--voiceprints", place, "--review-cap", "7"])
    manage_store.main(arguments)
    assert '"review_cap": 7' in capsys.readouterr().out
