"""The store as a file: who may read it, what else lies there, what is damaged."""

import os
import sqlite3
import sys

import pytest
from test_voiceprint_store import clip, models

from speakerlab import distribution
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.voiceprint.database import passwords, without_password
from speakerlab.voiceprint.store import VoiceprintStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "people.db"


def test_only_the_owner_reads_the_files(path):
    before = os.umask(0)
    try:
        with VoiceprintStore.open(path) as store:
            store.enrol([clip(1, 0)], name="Ann")
            files = {file.name: oct(file.stat().st_mode)[-3:] for file in path.parent.iterdir()}
            assert files == dict.fromkeys(["people.db", "people.db-wal", "people.db-shm"], "600")
    finally:
        os.umask(before)
    assert [file.name for file in path.parent.iterdir()] == ["people.db"]


def test_commits_are_on_the_disk_and_rows_refer_to_rows(path):
    with VoiceprintStore.open(path) as store:
        found = {
            name: store.database.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")
        }
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert store.database.rows("PRAGMA secure_delete") == [(1,)]
        with pytest.raises(DataError, match="FOREIGN KEY"):
            store.database.run("INSERT INTO members VALUES ('none', 'none')")


def test_other_files_are_refused_and_left_alone(tmp_path):
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE films (name TEXT)")
    connection.close()
    with pytest.raises(DataError, match=r"foreign\.db: is another program's database; name another file"):
        VoiceprintStore.open(foreign)
    text = tmp_path / "text.db"
    text.write_text("not a database, whatever its name is" * 10)
    with pytest.raises(DataError, match=r"text\.db: the voiceprint store cannot be used: file is not a data"):
        VoiceprintStore.open(text)
    assert text.read_text().startswith("not a database")
    with pytest.raises(DataError, match="is a folder; name a file"):
        VoiceprintStore.open(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        VoiceprintStore.open(text / "people.db")


def test_a_damaged_file_is_one_line(path):
    with VoiceprintStore.open(path) as store:
        for number in range(50):
            store.enrol([clip(1, number)], name=f"s{number}")
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    with (
        pytest.raises(DataError, match="the voiceprint store cannot be used"),
        VoiceprintStore.open(path) as store,
    ):
        models(store)


def test_another_writer_is_waited_for_and_then_named(path):
    with VoiceprintStore.open(path) as first, VoiceprintStore.open(path) as second:
        second.database.run("PRAGMA busy_timeout = 20")
        with first.change():
            assert second.speakers() == []
            with pytest.raises(DataError, match="cannot be used: database is locked"):
                second.add_speaker("Ann")
        second.add_speaker("Ann")
        assert [one.name for one in first.speakers()] == ["Ann"]


def test_postgresql_needs_its_package_and_shows_no_password(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError) as caught:
        VoiceprintStore.open("postgresql://user:secret@host/people")
    assert str(caught.value) == f"psycopg is not installed; run: {distribution.how_to_install('postgres')}"
    shown = without_password("postgresql://user:secret@host:5433/people?sslmode=require&password=secret")
    assert shown == "postgresql://user@host:5433/people"
    assert without_password("postgres:///people") == "postgres:///people"
    assert passwords("postgresql://user:se%20cret@host/x?password=other") == [
        "se%20cret",
        "se cret",
        "other",
        "other",
    ]
    with pytest.raises(DataError, match="is no URL of a database"):
        without_password("postgresql://[bad")
