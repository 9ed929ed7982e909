"""Voiceprints in a folder: exact, safe against any name, damaged files and two writers at once."""

import json
import multiprocessing

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.voiceprint.folder import Voiceprint, VoiceprintFolder


def voiceprint(*values, source="a.wav"):
    return Voiceprint(np.array(values, dtype=np.float32), source, 2.5)


@pytest.fixture
def folder(tmp_path):
    return VoiceprintFolder(tmp_path / "people", "hash-1")


def test_what_was_enrolled_comes_back_to_the_bit(folder):
    embedding = np.random.default_rng(0).normal(size=192).astype(np.float32)
    assert folder.add("Ann", [Voiceprint(embedding, "a.wav", 2.5)]) == 1
    (found,) = VoiceprintFolder(folder.path, "hash-1").people()["Ann"]
    assert np.array_equal(found.embedding, embedding)
    assert (found.source, found.speech_s) == ("a.wav", 2.5)


def mean_direction(embeddings):
    return np.mean([one / np.linalg.norm(one) for one in embeddings], axis=0)


def test_a_model_is_the_mean_of_the_directions(folder):
    folder.add("Ann", [voiceprint(3, 0)])
    assert folder.add("Ann", [voiceprint(0, 0.5)]) == 2
    folder.add("Bob", [voiceprint(-7, 0)])
    models = folder.models(mean_direction)
    assert models.ids == ("Ann", "Bob")
    half = np.sqrt(0.5)
    np.testing.assert_allclose(models.matrix, [[half, half], [-1, 0]], atol=1e-7)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", ".", "a/b", "名前", "O'Neil 2", "x" * 80, ".lock"]
)
def test_any_name_stays_in_the_folder(folder, name):
    folder.add(name, [voiceprint(1, 0)])
    assert list(folder.people()) == [name]
    files = [p.name for p in folder.path.iterdir() if p.name != ".lock"]
    assert len(files) == 1
    assert folder.remove(name)
    assert not folder.remove(name)
    assert folder.people() == {}


def test_two_spellings_of_one_name_are_one_person(folder):
    folder.add("José", [voiceprint(1, 0)])
    assert folder.add(" Jose\u0301 ", [voiceprint(0, 1)]) == 2


@pytest.mark.parametrize("name", ["", "  ", "é" * 200])
def test_no_name(folder, name):
    with pytest.raises(DataError, match="cannot be a name"):
        folder.add(name, [voiceprint(1, 0)])
    assert not folder.path.exists()


@pytest.mark.parametrize("values", [(np.nan, 1), (1, 2, 3)])
def test_embeddings_that_do_not_fit_change_nothing(folder, values):
    folder.add("Ann", [voiceprint(1, 0)])
    with pytest.raises(DataError, match="finite and of one size"):
        folder.add("Ann", [voiceprint(*values)])
    assert len(folder.people()["Ann"]) == 1


def test_nobody(folder):
    with pytest.raises(DataError, match="nobody is enrolled here; run: speakerlab enroll"):
        folder.models(mean_direction)
    assert not folder.remove("Ann")


def test_another_model_is_refused(folder):
    folder.add("Ann", [voiceprint(1, 0)])
    other = VoiceprintFolder(folder.path, "hash-2")
    for action in (
        other.people,
        lambda: other.models(mean_direction),
        lambda: other.add("Ann", [voiceprint(1, 0)]),
    ):
        with pytest.raises(DataError, match=r"Ann.json: was enrolled with another model"):
            action()
    assert other.counts() == {"Ann": 1}
    assert other.remove("Ann")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda text: text.replace("Ann", "Bob"),
        lambda text: text.replace("1.0", "NaN"),
        lambda text: json.dumps({**json.loads(text), "voiceprints": []}),
        lambda _: "[]",
    ],
)
def test_a_damaged_file_is_named(folder, damage):
    folder.add("Ann", [voiceprint(1, 0)])
    file = folder.path / "Ann.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(DataError, match=r"Ann.json: is not an intact voiceprint file; remove it"):
        folder.models(mean_direction)


def enrol(path, number):
    for _ in range(10):
        VoiceprintFolder(path, "hash-1").add("Ann", [voiceprint(1, number)])


def test_two_writers_lose_nothing(folder):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=enrol, args=(folder.path, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(folder.people()["Ann"]) == 20
