"""``speakerlab enroll``, ``people`` and ``store`` on a store: gates, galleries, consent, receipts, import."""

import json
import re

import numpy as np
import pytest
import soundfile
from conftest import RATE, save_tiny, speakerlab

from speakerlab.hub import rule
from speakerlab.hub.calibration import Calibration
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline.decision import Threshold
from speakerlab.predictor import Predictor
from speakerlab.voiceprint.store import VoiceprintStore


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_tiny(path / "m", threshold=0.5)
    save_tiny(path / "strict", threshold=1.0)
    save_tiny(path / "other", seed=1, threshold=0.5)
    return path


@pytest.fixture
def run(models, talkers, tmp_path, monkeypatch, capsys):
    """Call ``speakerlab`` in a folder with recordings of two talkers: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name, talker in zip("ab", talkers, strict=True):
        for number, waveform in enumerate(talker):
            soundfile.write(tmp_path / f"{name}{number}.wav", waveform.samples, RATE)

    def call(*arguments, model="m"):
        if arguments[0] in {"enroll", "identify", "embed"} or arguments[:2] == ("store", "re-embed"):
            arguments = (*arguments, "--model", models / model)
        status = speakerlab(*arguments)
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def test_the_default_store_and_who_sounds_alike(run, tmp_path):
    assert run("enroll", "Ann", "a0.wav", "a1.wav")[:2] == (0, "Ann: 2 voiceprints in voiceprints.db\n")
    assert oct((tmp_path / "voiceprints.db").stat().st_mode)[-3:] == "600"
    assert not list(tmp_path.glob("voiceprints.db-*"))  # copying the one file copies all
    status, out, _ = run("enroll", "Anna", "a0.wav")
    assert status == 0
    assert re.fullmatch(
        r"Anna: 1 voiceprint in voiceprints\.db\n"
        r"note       sounds like Ann, already enrolled \(score 0\.\d{3}, threshold 0\.500\)\n", out,
    )  # fmt: skip
    status, out, _ = run("enroll", "Annie", "a0.wav", "--duplicates", "review", "--json")
    found = json.loads(out)
    assert (status, found["state"], found["voiceprints"]) == (4, "review", 0)
    assert {one["gate"] for one in found["findings"]} == {"duplicate"}
    assert (
        run("enroll", "Ann", "a0.wav", "--duplicates", "off")[1] == "Ann: 3 voiceprints in voiceprints.db\n"
    )
    assert run("people")[1] == "3\tAnn\n1\tAnna\n0\tAnnie\n"


def test_recordings_that_are_not_alike_wait_for_review(run):
    status, out, _ = run("enroll", "Ann", "a0.wav", "b0.wav", model="strict")
    assert status == 4
    assert out.startswith("Ann: on the review list of voiceprints.db: ")
    clips = out.splitlines()[0].split()[-2:]  # of a0 and of b0
    assert "because    the two recordings sound like different speakers" in out
    status, _, err = run("identify", "a0.wav", model="strict")
    assert (status, "nobody is enrolled here" in err) == (1, True)
    first, second = [line.split("\t") for line in run("store", "review")[1].splitlines()]
    assert {first[0], second[0]} == set(clips)
    assert first[1:] == second[1:]
    assert first[1] == "Ann"
    assert run("store", "review", "--accept", clips[0], "--withdraw", clips[1])[:2] == (0, "")
    assert run("people")[1] == "1\tAnn\n"
    assert run("store", "review")[1] == ""
    assert "sounds like another speaker than what" in run("enroll", "Ann", "b0.wav", model="strict")[1]
    assert run("enroll", "Ann", "a0.wav", "b0.wav", "--no-cohesion", model="strict")[0] == 0
    assert run("enroll", "Bob", "b0.wav", "--min-speech", "60")[0] == 4
    assert run("enroll", "Bob", "b0.wav", "--min-speech", "-1")[2].count("\n") == 1


def test_quality_can_be_switched_off(run, tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(48000)
    soundfile.write(tmp_path / "noise.wav", noise, RATE)
    assert run("enroll", "Ann", "noise.wav")[0] == 1
    assert not (tmp_path / "voiceprints.db").exists()
    assert run("enroll", "Ann", "noise.wav", "--no-quality", "--min-speech", "0")[0] == 0
    with VoiceprintStore.open("voiceprints.db") as store:
        (found,) = store.clips()
    assert found.voiceprint.flags == ("no speech found",)


def test_galleries(run):
    run("enroll", "Ann", "a0.wav", "--gallery", "board")
    run("enroll", "Bob", "b0.wav")
    found = json.loads(run("identify", "b1.wav", "--gallery", "board", "--json")[1])
    assert list(found["ranking"]) == ["Ann"]
    assert len(json.loads(run("identify", "b1.wav", "--json")[1])["ranking"]) == 2
    assert run("people", "--gallery", "board")[1] == "1\tAnn\n"
    status, _, err = run("identify", "b1.wav", "--gallery", "none")
    assert (status, err) == (1, "speakerlab identify: voiceprints.db: there is no gallery 'none'\n")


def test_consent(run):
    assert run("store", "settings", "--consent", "required")[0] == 0
    status, _, err = run("enroll", "Ann", "a0.wav")
    assert (status, err.count("\n")) == (1, 1)
    assert "this store demands a consent; give --consent" in err
    assert run("enroll", "Ann", "a0.wav", "--consent", "file 7", "--consent-until", "2001-12-31")[0] == 1
    assert run("enroll", "Ann", "a0.wav", "--consent-until", "2101-12-31")[2].endswith(
        "--consent REFERENCE\n"
    )
    assert run("enroll", "Ann", "a0.wav", "--consent-until", "tomorrow")[0] == 2
    assert run("enroll", "Ann", "a0.wav", "--consent", "file 7", "--consent-until", "2101-12-31")[0] == 0
    with VoiceprintStore.open("voiceprints.db") as store:
        (found,) = store.clips()
    assert (found.voiceprint.consent.reference, found.voiceprint.consent.end_s) == ("file 7", 4165516800.0)


def test_export_import_backup_and_oblivion(run, tmp_path):
    run("enroll", "Ann", "a0.wav", "a1.wav")
    run("enroll", "Bob", "b0.wav")
    score = json.loads(run("identify", "a0.wav", "--json")[1])["ranking"]
    assert run("store", "export", "people.jsonl")[1] == "people.jsonl: 2 people, 3 voiceprints\n"
    assert run("store", "export", "b.jsonl", "--person", "Bob")[1] == "b.jsonl: 1 people, 1 voiceprints\n"
    assert run("store", "backup", "copy.db")[1] == "copy.db: a copy of voiceprints.db\n"
    receipt = json.loads(run("people", "--remove", "Ann", "--json")[1])
    assert (receipt["removed"]["clips"], receipt["bytes_overwritten"]) == (2, True)
    assert run("people")[1] == "1\tBob\n"
    text = "people.jsonl: 2 new people, 3 new voiceprints\n"
    assert run("store", "import", "people.jsonl", "--voiceprints", "again.db")[1] == text
    for place in ("again.db", "copy.db"):
        assert json.loads(run("identify", "a0.wav", "--json", "--voiceprints", place)[1])["ranking"] == score
    told = [json.loads(line) for line in run("store", "audit")[1].splitlines()]
    assert [(one["action"], one["speaker_id"] is None) for one in told] == [
        ("enrol", True), ("enrol", False), ("export", True), ("export", False), ("backup", True),
        ("erase", True),
    ]  # fmt: skip
    removed = json.loads(run("store", "retain", "--max-age", "0")[1])["removed"]
    assert (removed["speakers"], removed["clips"]) == (1, 1)
    status, _, err = run("store", "export", "none.jsonl", "--person", "Eve")
    assert (status, err) == (1, "speakerlab store: voiceprints.db: nobody is called 'Eve'\n")
    status, _, err = run("store", "audit", "--voiceprints", "none.db")
    assert status == 1
    assert "none.db: nobody is enrolled here" in err
    assert not (tmp_path / "none.db").exists()


def test_the_folder_of_earlier_versions_names_the_command(run, tmp_path):
    embedded = json.loads(run("embed", "a0.wav", "--json")[1])["a0.wav"]
    rows = [{"embedding": embedded["spk_embedding"], "source": "a0.wav", "speech_s": 3.0}]
    content = {"name": "Ann", "model": embedded["model_hash"], "voiceprints": rows}
    for folder in (tmp_path / "people", tmp_path / "voiceprints"):
        folder.mkdir()
        (folder / "Ann.json").write_text(json.dumps(content))
    told = run("identify", "a0.wav")[2]
    assert told.startswith(
        "speakerlab identify: voiceprints: voiceprints.db is not there, and this is a folder of"
    )
    assert told.endswith("; run: speakerlab store import voiceprints\n")
    for command in (("people",), ("identify", "a0.wav"), ("enroll", "Ann", "a0.wav")):
        status, _, err = run(*command, "--voiceprints", "people")
        assert (status, err.count("\n")) == (1, 1)
        assert (
            "people: is a folder of JSON files, as earlier versions wrote; run: speakerlab store import"
            in err
        )
    assert run("store", "import", "people")[1] == "people: 1 new people, 1 new voiceprints\n"
    assert json.loads(run("identify", "a0.wav", "--json")[1])["ranking"]["Ann"] == pytest.approx(1, abs=1e-6)


def test_the_move_to_another_model(run, tmp_path):
    run("enroll", "Bob", "b0.wav")
    run("store", "settings", "--keep-audio", "kept")
    run("enroll", "Ann", "a0.wav", "a1.wav")
    assert len(list((tmp_path / "kept").glob("*.flac"))) == 2
    status, _, err = run("identify", "a0.wav", model="other")
    assert status == 1
    assert "everybody here was enrolled with another model" in err
    status, out, _ = run("store", "re-embed", model="other")
    assert (status, out) == (0, "2 voiceprints have an embedding of this model now\nenrol again: Bob\n")
    found = json.loads(run("identify", "a0.wav", "--json", model="other")[1])
    assert list(found["ranking"]) == ["Ann"]
    assert found["notes"] == ["1 of the people here were enrolled with another model, and are not compared"]
    expected = json.loads(run("enroll", "Ann", "a0.wav", "a1.wav", "--json", model="other")[1])
    assert expected["voiceprints"] == 4
    with VoiceprintStore.open("voiceprints.db") as store:
        now = [one.voiceprint for one in store.clips(store.find("Ann").speaker_id, "enrolled")]
    moved, direct = now[:2], now[2:]
    for one in moved:
        assert min(np.abs(one.embedding - other.embedding).max() for other in direct) < 1e-4
    run("people", "--remove", "Ann")
    assert not list((tmp_path / "kept").iterdir())


def test_a_predictor_sees_what_another_process_enrols(run, models):
    predictor = Predictor(models / "m", "voiceprints.db")
    predictor.register("a0.wav", "Ann")
    assert list(predictor.recognition("a1.wav").ranking) == ["Ann"]
    run("enroll", "Bob", "b0.wav")
    assert set(predictor.recognition("a1.wav").ranking) == {"Ann", "Bob"}
    run("people", "--remove", "Ann")
    assert list(predictor.recognition("a1.wav").ranking) == ["Bob"]


def test_clips_name_the_rule_in_force():
    calibrations = [
        Calibration(scale, 0.0, "even", OperatingPoint(0.5, 1.0, 1.0), 0.5, "trials", 10, 10)
        for scale in (8, 9)
    ]
    first, second = map(rule.identity, calibrations)
    assert len(first) == 64
    assert first != second
    assert rule.identity(calibrations[0]) == first
    assert Threshold(None, "none", {}, calibrations[0]).directions(
        np.array([[3, 4]], np.float32)
    ).tolist() == [pytest.approx([0.6, 0.8])]
