"""When nothing is decided, what decisions rest on, and that no answer depends on those before it."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import save_tiny, speakerlab
from test_hub import funasr  # noqa: F401

from speakerlab.backend import domain_norm
from speakerlab.embed.session import SessionConfig
from speakerlab.hub import bundle
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.conditions import Conditions
from speakerlab.hub.load import load_model
from speakerlab.io import audio
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline import pipeline
from speakerlab.pipeline.decision import Decision, Threshold
from speakerlab.types import SYNTHETIC, Waveform

ROOT = Path(__file__).parents[2]
IDENTITY = {"model", "model_hash", "domain"}
DECIDED = {*IDENTITY, "threshold", "threshold_origin", "calibration", "reasons", "notes"}
EVEN = OperatingPoint(0.5)
TELEPHONE = Conditions((1.0, 9.0), (-40.0, 0.0), (3800.0, 3800.0))
WIDE = Conditions((1.0, 9.0), (-40.0, 0.0), (7000.0, 7000.0))


def calibration(conditions=None):
    """Its threshold is a cosine of 0.25, which every two recordings reach."""
    return Calibration(8.0, -2.0, "even", EVEN, 0.5, "dev/trials", 10, 90, "calls", conditions)


def adaptation(conditions=WIDE):
    rng = np.random.default_rng(0)
    norm, impostors = domain_norm.learn(rng.standard_normal((40, 8)), np.arange(40), 0.9)
    threshold = impostors.threshold(0.05)
    interval = impostors.interval(threshold)
    return Adaptation(norm, threshold, 0.05, interval, "calls", conditions, "wav.scp", 40, 40)


MODELS = {
    "bare": {},
    "synthetic": {"domain": SYNTHETIC, "threshold": 0.5},
    "synthetic-calibrated": {"domain": SYNTHETIC, "rule": calibration(WIDE)},
    "published": {"domain": "speech", "threshold": 0.31},
    "calibrated": {"rule": calibration(WIDE)},
    "telephone": {"rule": calibration(TELEPHONE)},
    "anywhere": {"rule": calibration()},
    "adapted": {"domain": "speech", "rule": adaptation()},
    "adapted-telephone": {"rule": adaptation(TELEPHONE)},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory, talkers):
    """Bundles by name, some of their graphs, recordings of two talkers, and one too quiet to be heard."""
    path = tmp_path_factory.mktemp("here")
    for name, extra in MODELS.items():
        save_tiny(path / name, **extra)
    for name in ("calibrated", "adapted"):
        assert not speakerlab("export", "--input", "waveform", path / name, path / f"{name}.onnx")
    for name, talker in zip("ab", talkers, strict=True):
        audio.write(path / f"{name}.wav", talker[0])
    audio.write(path / "quiet.wav", Waveform(np.tile(np.float32([1e-4, 0]), 16000), 16000))
    return path


@pytest.fixture
def run(here, monkeypatch, capsys):
    """Call ``speakerlab`` as the shell does: (status, stdout)."""
    monkeypatch.chdir(here)

    def call(*arguments):
        status = speakerlab(*arguments, "--cpu")
        return status, capsys.readouterr().out

    return call


def verify(run, model, *options):
    status, out = run("verify", "a.wav", "b.wav", "--model", model, "--json", *options)
    return status, json.loads(out)


def test_without_a_threshold_nothing_is_decided(run):
    status, found = verify(run, "bare")
    assert (status, found["label"], found["threshold"], found["threshold_origin"]) == (
        4,
        "Uncertain",
        None,
        "none",
    )
    assert found["reasons"] == ["this model has no threshold; calibrate it or give one"]
    assert -1 <= found["cosine"] <= 1
    assert found["scores"] == [0.0, 0.0]
    assert (found["llr"], found["calibration"], found["inside_calibration"]) == (None, None, None)
    assert found.keys() >= DECIDED
    assert (found["model"], len(found["model_hash"]), found["domain"]) == ("bare", 64, None)
    status, out = run("verify", "a.wav", "b.wav", "--model", "bare")
    assert status == 4
    assert "decision   uncertain" in out
    assert f"{found['cosine']:.4f} (cosine; no threshold)" in out
    assert "because    this model has no threshold; calibrate it or give one" in out
    assert verify(run, "bare", "--threshold", "-1")[1]["label"] == "Same"
    run("enroll", "Ann", "a.wav", "--model", "bare", "--voiceprints", "people")
    status, out = run("identify", "b.wav", "--model", "bare", "--voiceprints", "people", "--json")
    found = json.loads(out)
    assert (status, found["name"], found["nearest"], found["threshold"]) == (4, None, "Ann", None)
    assert "this model has no threshold" in found["reasons"][0]


@pytest.mark.parametrize("name", ["telephone", "adapted-telephone"])
def test_outside_of_its_conditions_a_model_does_not_decide(run, name):
    status, found = verify(run, name)
    assert (status, found["label"], found["llr"], found["inside_calibration"]) == (
        4,
        "Uncertain",
        None,
        False,
    )
    why = "its speech reaches 7.0 kHz, the calibration's 3.8 kHz"
    assert [reason.partition(";")[0] for reason in found["reasons"]] == [
        f"first recording: {why}", f"second recording: {why}",
    ]  # fmt: skip
    assert all("speakerlab adapt" in reason for reason in found["reasons"])
    assert found["notes"] == []
    assert found["threshold"] is not None
    status, out = run("verify", "a.wav", "b.wav", "--model", name)
    assert "the calibration does not hold for these recordings" in out
    assert "likely" not in out


@pytest.mark.parametrize("name", ["telephone", "adapted-telephone"])
def test_a_given_threshold_decides_outside_with_a_note(run, name):
    status, found = verify(run, name, "--threshold=-1")
    assert (status, found["label"], found["threshold_origin"]) == (0, "Same", "given")
    assert (found["llr"], found["reasons"], found["inside_calibration"]) == (None, [], False)
    assert found["notes"][0] == "first recording: its speech reaches 7.0 kHz, the calibration's 3.8 kHz"
    status, out = run("verify", "a.wav", "b.wav", "--model", name, "--threshold=-1")
    assert "note       first recording: its speech reaches 7.0 kHz" in out
    assert "times as likely" not in out


def test_inside_of_its_conditions_a_calibration_has_odds(run):
    status, found = verify(run, "calibrated")
    assert (status, found["inside_calibration"], found["threshold_origin"]) == (0, True, "calibrated")
    assert found["llr"] == pytest.approx(8 * found["cosine"] - 2)
    assert found["calibration"] == {
        "kind": "trials", "domain": "calls", "made_of": "dev/trials", "num_targets": 10, "num_nontargets": 90,
        "num_misses": None, "num_false_accepts": None, "operating_point": "even",
    }  # fmt: skip
    assert verify(run, "anywhere")[1]["inside_calibration"] is None
    assert verify(run, "published")[1]["threshold_origin"] == "published"


def test_where_too_little_is_heard_there_are_no_odds(run):
    status, out = run("verify", "a.wav", "quiet.wav", "--model", "anywhere", "--json")
    found = json.loads(out)
    assert (status, found["label"], found["llr"]) == (4, "Uncertain", None)
    assert found["reasons"][0].startswith("second recording: silence")
    for name in ("anywhere", "adapted", "calibrated", "published"):
        status, out = run("verify", "a.wav", "quiet.wav", "--model", name)
        assert status == 4
        assert "confidence not known: " in out


def test_a_model_of_synthetic_voices_tells_it_in_every_answer(run):
    note = "this model knows synthetic voices only; its scores mean little for people"
    for name in ("synthetic", "synthetic-calibrated"):
        status, found = verify(run, name)
        assert (status, found["label"], found["llr"], found["inside_calibration"]) == (0, "Same", None, False)
        assert (found["notes"], found["domain"]) == ([note], SYNTHETIC)
        status, out = run("verify", "a.wav", "b.wav", "--model", name)
        assert f"note       {note}" in out
        assert "trained on synthetic speech" in out
        assert "likel" not in out.replace("not likely enough", "")
        run("enroll", "Ann", "a.wav", "--model", name, "--voiceprints", f"people-{name}")
        arguments = ("identify", "b.wav", "--model", name, "--voiceprints", f"people-{name}")
        assert f"note       {note}" in run(*arguments)[1]
        assert json.loads(run(*arguments, "--json")[1])["notes"] == [note]
        assert note in verify(run, name, "--threshold", "0.2")[1]["notes"]


def test_every_json_answer_names_the_model(run):
    hashes = set()
    for name, settings in MODELS.items():
        answers = [verify(run, name)[1]]
        _, out = run("enroll", "Ann", "a.wav", "--model", name, "--voiceprints", f"all-{name}", "--json")
        enrolled = json.loads(out)
        identified = run("identify", "b.wav", "--model", name, "--voiceprints", f"all-{name}", "--json")[1]
        answers.append(json.loads(identified))
        for one in answers:
            assert one.keys() >= DECIDED
        embedded = json.loads(run("embed", "a.wav", "--model", name, "--json")[1])["a.wav"]
        answers += [enrolled, embedded, pipeline(model=name, ngpu=0)("a.wav")]
        domain = settings.get("domain")
        assert {(one["model"], one["domain"]) for one in answers} == {(name, domain)}
        hashes |= {one["model_hash"] for one in answers}
    assert len(hashes) == 1  # weights and settings are one, whatever decides


def test_answers_do_not_depend_on_those_before(here):
    """Every pair of calls in either order, over models, back-ends and thresholds: equal to the last bit."""
    onnx = SessionConfig(backend="onnx")
    makers = {
        "bare": lambda: pipeline(model=here / "bare", ngpu=0),
        "calibrated": lambda: pipeline(model=here / "calibrated", ngpu=0),
        "adapted": lambda: pipeline(model=here / "adapted", ngpu=0),
        "strict": lambda: pipeline(model=here / "calibrated", ngpu=0, sv_threshold=1.0),
        "graph": lambda: pipeline(model=here / "adapted.onnx"),
        "onnx": lambda: pipeline(model=here / "calibrated", ngpu=0, running=onnx),
    }
    pair, turned = ((str(here / f"{x}.wav"), str(here / f"{y}.wav")) for x, y in ("ab", "ba"))
    calls = {"own": (pair, None), "given": (pair, 0.9), "turned": (turned, None)}
    alone = {
        (name, call): makers[name]()(audio_in, thr=thr)
        for name, (call, (audio_in, thr)) in itertools.product(makers, calls.items())
    }
    kept = {name: make() for name, make in makers.items()}
    order = list(alone)
    for seed in range(3):
        for row in np.random.default_rng(seed).permutation(len(order)):
            name, call = order[row]
            audio_in, thr = calls[call]
            assert kept[name](audio_in, thr=thr) == alone[name, call]
    origins = {alone[name, "own"]["threshold_origin"] for name in makers}
    assert origins == {"none", "calibrated", "adapted", "given"}


def test_a_constant_of_one_model_is_in_its_reader_alone():
    found = subprocess.run(
        ["git", "grep", "-lF", ".9465", "--", "speakerlab", "egs", "local", "steps", "conf", "run.sh"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == ["speakerlab/hub/funasr_dir.py"]


def test_models_of_funasr_answer_with_it_and_copies_too(funasr, here, tmp_path):  # noqa: F811
    path, _ = funasr
    pair = (str(here / "a.wav"), str(here / "b.wav"))
    bundle.copy(load_model(path), tmp_path / "copy", None)
    for model in (path, tmp_path / "copy"):
        found = pipeline(model=model, ngpu=0)(pair)
        assert (found["threshold"], found["threshold_origin"]) == (0.9465, "published")
        assert found["label"] == ("Same" if found["cosine"] >= 0.9465 else "Different")


def decision(score, threshold, **changes):
    return Decision(0.0, score, Threshold(threshold, "adapted"), (), **changes)


def test_scores_of_adapted_models_may_lie_above_1():
    assert decision(1.05, 1.17).scores == [0.0, 1.0]
    assert decision(1.2, 1.17).scores == [1.0, 0.0]
    assert decision(0.6, 0.5).scores == pytest.approx([0.2, 0.8])
    given = Threshold(1.2, "given", adaptation=adaptation())
    assert given.score == 1.2
