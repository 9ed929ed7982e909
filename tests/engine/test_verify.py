"""verify_speakers answers as speakerlab verify does: words, numbers and exit status."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest
from conftest import BUILD, RATE, voiced

from speakerlab.backend.domain_norm import DomainNorm
from speakerlab.bin import verify_speakers
from speakerlab.hub import onnx_file, rule
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.conditions import Conditions
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline import pipeline

RNG = np.random.default_rng(0)


PIPELINES = {}


def ours(*arguments):
    """Exit status, standard output and the last line of standard error of the engine."""
    command = [str(BUILD / "bin/verify_speakers"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr.strip().rpartition("\n")[2]


def theirs(model, pair, threshold=None):
    """Exit status, result and words of ``speakerlab verify``, in this process."""
    if model not in PIPELINES:
        PIPELINES[model] = pipeline(model=str(model), ngpu=0)
    found = PIPELINES[model](tuple(map(str, pair)), thr=threshold)
    return verify_speakers.EXIT[found["label"]], found, verify_speakers.text_of(found) + "\n"


def check(model, pair, threshold=None):
    """JSON, words and exit status of both are the same."""
    options = () if threshold is None else ("--threshold", threshold)
    status, found, words = theirs(model, pair, threshold)
    as_json = ours("--model", model, *pair, *options, "--json")
    as_words = ours("--model", model, *pair, *options)
    assert as_json[0] == as_words[0] == status
    same(json.loads(as_json[1]), json.loads(json.dumps(found)))
    assert as_words[1] == words
    return status


def same(found, expected, where=""):
    """Equal, numbers to what two front ends in other orders of sums leave."""
    assert type(found) is type(expected) or {type(found), type(expected)} == {int, float}, where
    if isinstance(found, dict):
        assert list(found) == list(expected), where
        for key in found:
            same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(found, list):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            same(*pair, f"{where}[{number}]")
    elif isinstance(found, float):
        assert found == pytest.approx(expected, abs=2e-3 if "llr" in where else 2e-5, rel=1e-5), where
    else:
        assert found == expected, where


def noisy(samples, level):
    return samples + level * RNG.standard_normal(len(samples)).astype(np.float32)


@pytest.fixture
def pairs(wav):
    """Pairs of recordings of every kind."""
    a, b = voiced(3, 0), voiced(3, 4)
    low = np.fft.rfft(a) * (np.fft.rfftfreq(len(a), 1 / RATE) < 3400)
    narrow = np.fft.irfft(low, len(a)).astype(np.float32)
    fine = np.interp(np.arange(132300) / 44100, np.arange(len(a)) / RATE, a)
    return {
        "one recording twice": (wav("a.wav", a), wav("a.wav", a)),
        "two voices": (wav("a.wav", a), wav("b.wav", b)),
        "with noise": (wav("a.wav", a), wav("c.wav", noisy(a, 0.02))),
        "silence": (wav("a.wav", a), wav("s.wav", np.zeros(3 * RATE))),
        "noise": (wav("n.wav", noisy(np.zeros(3 * RATE, np.float32), 0.1)), wav("a.wav", a)),
        "half a second": (wav("a.wav", a), wav("h.wav", voiced(0.5))),
        "clipped": (wav("l.wav", np.clip(a * 40, -1, 1)), wav("a.wav", a)),
        "a telephone": (wav("t.wav", narrow[::2], rate=RATE // 2), wav("a.wav", a)),
        "44.1 kHz": (wav("k.wav", fine, rate=44100), wav("a.wav", a)),
        "stereo": (wav("2.wav", np.stack([a, b], axis=1)), wav("a.wav", a)),
        "very quiet": (wav("q.wav", a * 0.02), wav("a.wav", a)),
        "a long one": (
            wav("w.wav", np.concatenate([voiced(60, 1), np.zeros(30 * RATE, "f4")])),
            wav("a.wav", a),
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        "one recording twice",
        "two voices",
        "with noise",
        "silence",
        "noise",
        "half a second",
        "clipped",
        "a telephone",
        "44.1 kHz",
        "stereo",
        "very quiet",
        "a long one",
    ],
)
def test_every_kind_of_pair(pairs, waveform_graph, name):
    check(waveform_graph, pairs[name])


@pytest.mark.parametrize("threshold", [0.999999, -0.5])
@pytest.mark.parametrize("name", ["two voices", "one recording twice", "silence"])
def test_a_threshold_that_is_given(pairs, waveform_graph, name, threshold):
    check(waveform_graph, pairs[name], threshold)


def adaptation():
    cohort = RNG.standard_normal((20, 192))
    norm = DomainNorm(
        RNG.standard_normal(192) * 0.01,
        cohort / np.linalg.norm(cohort, axis=1, keepdims=True),
        10,
        0.2,
        0.1,
        0.6,
    )
    conditions = Conditions((1.0, 9.0), (-40.0, -5.0), (7000.0, 7000.0))
    return Adaptation(norm, 0.31, 0.01, (0.004, 0.02), "a test", conditions, "list", 25, 20)


def test_an_adapted_model(pairs, waveform_graph, tmp_path):
    adapted = tmp_path / "adapted.onnx"
    onnx_file.with_rule(waveform_graph, adapted, adaptation())
    for name in ("one recording twice", "two voices", "a telephone"):
        check(adapted, pairs[name])
    check(adapted, pairs["two voices"], 1.7)


def test_an_adapted_model_that_is_calibrated(pairs, waveform_graph, tmp_path):
    point = OperatingPoint(0.1, 1.0, 1.0)
    calibration = Calibration(
        8.0, -2.0, "rare", point, 0.5, "trials", 10, 90, "a test", None, num_misses=1, num_false_accepts=2
    )
    adapted = tmp_path / "calibrated.onnx"
    onnx_file.with_rule(waveform_graph, adapted, dataclasses.replace(adaptation(), calibration=calibration))
    for name in ("one recording twice", "two voices", "a telephone"):
        check(adapted, pairs[name])


def test_a_model_without_threshold_decides_nothing(pairs, waveform_graph, tmp_path):
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(waveform_graph.read_bytes())
    told = onnx_file.read(plain)
    left_out = {"input", "file_sha256", "threshold", "domain", "name", *rule.KEYS}
    onnx_file.write(plain, {key: value for key, value in told.items() if key not in left_out})
    assert check(plain, pairs["two voices"]) == 4


def test_a_graph_of_features_decides_alike(pairs, waveform_graph, models):
    from_waveform = ours("--model", waveform_graph, *pairs["two voices"], "--json")
    from_features = ours("--model", models("published")[1], *pairs["two voices"], "--json")
    same(json.loads(from_features[1]), json.loads(from_waveform[1]))


def test_faults_are_one_line(pairs, waveform_graph, tmp_path):
    first, second = pairs["two voices"]
    missing = tmp_path / "none.wav"
    for arguments, status, why in (
        (("--model", waveform_graph, missing, second), 1, f"{missing}: no such file"),
        (("--model", waveform_graph, first, missing), 1, f"{missing}: no such file"),
        (("--model", waveform_graph, first, second, "--threshold", "2"), 1, "no cosine"),
        (("--model", waveform_graph, first, second, "--channel", "1"), 1, "has no channel 1; it has 1"),
    ):
        found = ours(*arguments)
        assert found[0] == status
        assert why in found[2]
        assert found[1] == ""
    assert ours("--model", waveform_graph, first)[0] == 2
    assert ours("--model", waveform_graph, first, second, "--thresold", "1")[0] == 2
    assert ours(first, second)[0] == 2
