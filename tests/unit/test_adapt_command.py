"""``speakerlab adapt`` from a list of recordings to a model that decides, and every way it can go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import save_tiny, speakerlab

from speakerlab import cli
from speakerlab.backend import domain_norm
from speakerlab.embed.speech_check import SpeechCheck, check
from speakerlab.hub import bundle
from speakerlab.io import audio, audio_source
from speakerlab.pipeline import adapting, pipeline
from speakerlab.predictor import Predictor
from speakerlab.types import RecId, Recording, Waveform

ROOT = Path(__file__).parents[2]
NUM_PEOPLE = 32
TEXT = "Good morning, the quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """32 synthetic talkers, each heard twice, ``p00-0.wav`` to ``p31-1.wav``, and a model."""
    sys.path.insert(0, str(ROOT / "local"))
    import synthesis
    from voices import draw_voices

    path = tmp_path_factory.mktemp("crowd")
    with synthesis.synthesizer() as speech:
        voices = draw_voices(NUM_PEOPLE + 2, np.random.default_rng(0))
        spoken = [twice(speech.say(TEXT, voice).astype(np.float32)) for voice in voices]
    heard = [both for both in spoken if not any(check(one).reasons for one in both)]  # hoarse voices are not
    for person, both in enumerate(heard[:NUM_PEOPLE]):
        for number, waveform in enumerate(both):
            audio.write(path / f"p{person:02d}-{number}.wav", waveform)
    audio.write(path / "silence.wav", Waveform(np.tile(np.float32([1e-4, 0]), 16000), 16000))
    save_tiny(path / "m", domain="toy voices")
    return path


def twice(samples):
    """The recording, and its first nine tenths, quieter: an untrained network hears one voice in them."""
    return [Waveform(one, 16000) for one in (samples, 0.5 * samples[: 9 * len(samples) // 10])]


@pytest.fixture
def here(crowd, tmp_path, monkeypatch):
    """A working directory with ``wav.scp`` of one sentence of everybody."""
    monkeypatch.chdir(tmp_path)
    audio_source._output.cache_clear()
    write_list(crowd, "wav.scp", [f"p{n:02d}-0" for n in range(NUM_PEOPLE)])
    return tmp_path


def write_list(crowd, name, keys, extra=""):
    Path(name).write_text("".join(f"{key} {crowd}/{key}.wav\n" for key in keys) + extra)


@pytest.fixture
def adapt(here, crowd, monkeypatch, capsys):
    """Call ``speakerlab adapt`` as the shell does: (status, stdout, stderr)."""

    def call(*arguments, model=None, out="out", recordings="wav.scp"):
        words = ["adapt", "--recordings", recordings, "--cpu", *arguments, model or crowd / "m", out]
        status = speakerlab(*words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def embedded(crowd, keys):
    return Predictor(crowd / "m", ngpu=0).predict_batch([str(crowd / f"{key}.wav") for key in keys])


def refused(outcome, why, out="out"):
    """One line on stderr, the last, that tells ``why``; no result, and nothing where OUT was to be."""
    status, said, err = outcome
    assert (status, said) == (1, "")
    assert err.splitlines()[-1].startswith("speakerlab adapt: ")
    assert why in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not Path(out).exists()
    assert not list(Path().glob(f".{out}*"))


# What it makes


def test_a_bundle_decides_by_what_was_learned(adapt, crowd):
    status, out, err = adapt("--false-accept", "0.02", "--domain", "my calls")
    assert (status, err.count("warning")) == (0, 0)
    matrix = embedded(crowd, [f"p{n:02d}-0" for n in range(NUM_PEOPLE)])
    people, level = domain_norm.people_of(matrix)
    norm, impostors = domain_norm.learn(matrix, people, level)
    threshold = impostors.threshold(0.02)  # nobody, or hardly anybody, speaks twice
    low, high = impostors.interval(threshold)
    assert out.splitlines() == [
        f"out: adapted to 32 recordings of {len(np.unique(people))} people",
        f"threshold {threshold:.4f}: it accepts {100 * low:.2f} to {100 * high:.2f} % of pairs of different "
        "people (95 % interval; 2 % wanted)",
    ]
    found = bundle.load(Path("out"))
    assert found.content_hash == bundle.load(crowd / "m").content_hash
    assert found.domain == "toy voices"
    adaptation = found.adaptation
    assert adaptation.threshold == pytest.approx(threshold, abs=2e-5)
    np.testing.assert_allclose(adaptation.norm.mean, norm.mean, atol=1e-6)
    np.testing.assert_allclose(adaptation.norm.cohort, norm.cohort, atol=2e-4)
    assert (adaptation.false_accept, adaptation.domain) == (0.02, "my calls")
    assert (adaptation.recordings, adaptation.num_recordings) == ("wav.scp", 32)
    checks = [pipeline(model=crowd / "m", ngpu=0)(str(crowd / f"p{n:02d}-0.wav"))["audio"] for n in range(3)]
    assert all(not adaptation.conditions.outside(_check(one)) for one in checks)
    answer = pipeline(model="out", ngpu=0)((str(crowd / "p00-0.wav"), str(crowd / "p01-0.wav")))
    assert (answer["threshold"], answer["threshold_origin"]) == (adaptation.threshold, "adapted")
    assert not (crowd / "m" / "adaptation").exists()
    assert bundle.load(crowd / "m").rule is None


def _check(heard):
    names = ("duration_s", "speech_s", "level_db", "clipped", "bandwidth_hz")
    return SpeechCheck(reasons=(), **{name: heard[name] for name in names})


def test_a_graph_of_a_graph_is_the_bundle_of_the_bundle(adapt, crowd, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["speakerlab", "export", "--input", "waveform", str(crowd / "m"), "m.onnx"]
    )
    cli.main()
    assert adapt()[0] == 0
    status, out, _ = adapt(model="m.onnx", out="out.onnx")
    assert status == 0
    assert out.startswith("out.onnx: adapted to 32 recordings of ")
    pairs = [(str(crowd / f"p{a:02d}-1.wav"), str(crowd / f"p{b:02d}-0.wav")) for a, b in ((0, 0), (3, 4))]
    of_bundle, of_graph = (pipeline(model=name, ngpu=0) for name in ("out", "out.onnx"))
    for pair in pairs:
        first, second = of_bundle(pair), of_graph(pair)
        assert second["score"] == pytest.approx(first["score"], abs=2e-4)
        assert second["threshold"] == pytest.approx(first["threshold"], abs=1e-4)
        assert second["label"] == first["label"]
        assert second["model_hash"] == first["model_hash"]
    before = Path("m.onnx").read_bytes()
    assert adapt("--overwrite", model="m.onnx", out="m.onnx")[0] == 0  # in its own place
    assert Path("m.onnx").read_bytes() != before
    assert pipeline(model="m.onnx").model.rule is not None


def test_json_has_what_was_learned(adapt):
    status, out, _ = adapt("--json")
    found = json.loads(out)
    known = bundle.load(Path("out")).adaptation
    assert status == 0
    assert found == {
        "threshold": known.threshold,
        "false_accept": 0.01,
        "false_accept_interval": list(known.interval),
        "num_recordings": 32,
        "num_people": known.num_people,
        "domain": "recordings like those of wav.scp",
        "is_calibrated": False,
    }


def test_people_who_are_told_count_once(adapt, crowd):
    keys = [f"p{n:02d}-{number}" for n in range(NUM_PEOPLE) for number in (0, 1)]
    write_list(crowd, "wav.scp", keys)
    Path("utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in keys) + "other somebody\n")
    status, out, err = adapt("--utt2spk", "utt2spk", "--json", "--false-accept", "0.05")
    assert (status, err) == (0, "")
    assert json.loads(out)["num_people"] == NUM_PEOPLE
    matrix = embedded(crowd, keys)
    labels = [key[:3] for key in keys]
    _, impostors = domain_norm.learn(matrix, labels, domain_norm.people_of(matrix)[1])
    assert json.loads(out)["threshold"] == pytest.approx(impostors.threshold(0.05), abs=2e-5)
    assert bundle.load(Path("out")).adaptation.norm.cohort.shape == (NUM_PEOPLE, 8)


@pytest.mark.parametrize(("num_repeated", "share", "is_robust"), [(30, 0.02, True), (3, 0.2, False)])
def test_where_people_repeat_without_labels_the_robust_rule_decides(num_repeated, share, is_robust):
    """Sixty recordings; of repeated people some pairs are not recognised, which have the highest scores."""
    rng = np.random.default_rng(0)
    voices = 1 + rng.standard_normal((60 - num_repeated, 24))
    voices = np.concatenate([voices, voices[:num_repeated]])
    matrix = (voices + 0.4 * rng.standard_normal(voices.shape)).astype(np.float32)
    checks = [SpeechCheck(3.0, 3.0, -20.0, 0.0, (), 7000.0)] * 60
    ids = tuple(f"k{n}" for n in range(60))
    people, level = domain_norm.people_of(matrix)
    _, impostors = domain_norm.learn(matrix, people, level)
    plain, robust = (impostors.threshold(share, robust=choice) for choice in (False, True))
    assert robust < plain - 0.005
    found = adapting.adapt(adapting.Voices("list", ids, matrix, checks), share, "calls")
    assert found.threshold == pytest.approx(robust if is_robust else plain)
    known = adapting.adapt(
        adapting.Voices("list", ids, matrix, checks, dict(zip(ids, ids, strict=True))), share, ""
    )
    _, impostors = domain_norm.learn(matrix, np.arange(60), level)
    assert known.threshold == pytest.approx(impostors.threshold(share))  # who is told is believed


def test_labelled_trials_calibrate(adapt, crowd):
    keys = [f"p{n:02d}-{number}" for n in range(NUM_PEOPLE) for number in (0, 1)]
    write_list(crowd, "wav.scp", keys)
    Path("utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in keys))
    pairs = [(a, b) for a in keys for b in keys if a < b]
    lines = [f"{a} {b} {'target' if a[:3] == b[:3] else 'nontarget'}\n" for a, b in pairs]
    Path("trials").write_text("".join(lines))
    options = ("--utt2spk", "utt2spk", "--trials", "trials", "--operating-point", "0.1")
    write_list(crowd, "wav.scp", keys, f"gone {crowd}/gone.wav\n")
    with Path("trials").open("a") as stream:
        stream.write("p00-0 gone nontarget\n")  # which is left out, and so is the trial
    with Path("utt2spk").open("a") as stream:
        stream.write("gone p99\n")
    status, out, err = adapt(*options)
    assert (status, len(err.splitlines())) == (0, 1), err
    found = bundle.load(Path("out")).adaptation
    known = found.calibration
    assert status == 0
    # Two halves of sixteen people: 32 targets, and 2 x (32 * 31 / 2 - 16) non-targets.
    assert (known.num_targets, known.num_nontargets, known.trials) == (32, 960, "trials")
    assert f"calibrated on 32 target and 960 non-target trials: threshold {known.threshold:.4f} at 0.1" in out
    assert known.llr(known.threshold) == pytest.approx(np.log(9))
    assert (known.domain, known.conditions) == (found.domain, found.conditions)
    answer = pipeline(model="out", ngpu=0)((str(crowd / "p00-0.wav"), str(crowd / "p00-1.wav")))
    assert (answer["threshold"], answer["threshold_origin"]) == (known.threshold, "calibrated")
    assert answer["llr"] == pytest.approx(known.scale * answer["score"] + known.offset, abs=1e-3)
    assert json.loads(adapt(*options, "--json", "--overwrite")[1])["is_calibrated"] is True


def test_a_data_dir_and_its_commands(adapt, crowd):
    Path("data").mkdir()
    command = f"more cat {crowd}/p31-1.wav |\n"
    write_list(crowd, "data/wav.scp", [f"p{n:02d}-0" for n in range(NUM_PEOPLE)], command)
    assert json.loads(adapt("--json", recordings="data")[1])["num_recordings"] == 33
    text = Path("data/wav.scp").read_text()
    Path("data/wav.scp").write_text(text + f"ran touch RAN; cat {crowd}/p30-1.wav |\n")
    assert json.loads(adapt("--json", "--overwrite", recordings="data")[1])["num_recordings"] == 34
    assert Path("RAN").exists()


def test_a_data_dir_with_segments_is_its_utterances(adapt, crowd):
    Path("data").mkdir()
    people = [f"p{n:02d}" for n in range(NUM_PEOPLE)]
    write_list(crowd, "data/wav.scp", [f"{person}-0" for person in people])
    ends = {
        person: audio.duration_s(Recording(RecId(person), f"{crowd}/{person}-0.wav")) for person in people
    }
    parts = [(f"{p}-a {p}-0 0 {ends[p]:.3f}\n", f"{p}-b {p}-0 0.1 {ends[p]:.3f}\n") for p in people]
    Path("data/segments").write_text("".join(line for both in parts for line in both))
    assert json.loads(adapt("--json", recordings="data")[1])["num_recordings"] == 2 * NUM_PEOPLE
    Path("data/segments").write_text("".join(first for first, _ in parts))
    whole = json.loads(adapt("--json", "--overwrite", recordings="data")[1])
    assert whole["threshold"] == pytest.approx(json.loads(adapt("--json", "--overwrite")[1])["threshold"])


@pytest.mark.parametrize("rate", ["1.5", "-0.1", "nan", "x"])
def test_a_rate_of_failures_that_is_none(adapt, rate):
    status, out, err = adapt("--max-fail-rate", rate)
    assert (status, out) == (2, "")
    assert f"argument --max-fail-rate: {rate} is not in 0..1" in err or "invalid" in err


def test_labels_and_trials_are_looked_at_before_anything_is_embedded(adapt, crowd, monkeypatch):
    monkeypatch.setattr("speakerlab.pipeline.embedding.embed", None)  # whoever calls it gets a TypeError
    Path("utt2spk").write_text("p00-0 p00\n")
    refused(adapt("--utt2spk", "utt2spk"), "no speaker for p01-0 (31 such recordings)")
    Path("trials").write_text("p00-0 p99-0 target\n")
    refused(adapt("--trials", "trials"), "p99-0 is not among the recordings")


def test_of_a_long_list_no_more_is_embedded_than_is_used(adapt, crowd, monkeypatch):
    monkeypatch.setattr(adapting, "MAX_RECORDINGS", 5)
    heard = []
    read = audio.read_channels
    monkeypatch.setattr(
        audio, "read_channels", lambda one, *more: heard.append(one.rec_id) or read(one, *more)
    )
    assert json.loads(adapt("--json")[1])["num_recordings"] == len(heard) == 5


@pytest.mark.parametrize("name", ["upload.wav", "list.txt", "scp"])
def test_no_command_runs_of_what_is_not_called_a_list(adapt, crowd, name):
    write_list(crowd, name, [f"p{n:02d}-0" for n in range(5)], f"x touch RAN; cat {crowd}/p09-1.wav |\n")
    refused(adapt(recordings=name), "'x' is a command")
    assert not Path("RAN").exists()


# What cannot be used


def test_what_cannot_be_used_is_named_and_left_out(adapt, crowd):
    keys = [f"p{n:02d}-0" for n in range(NUM_PEOPLE)]
    write_list(crowd, "wav.scp", [*keys, "silence"], f"gone {crowd}/gone.wav\n")
    status, out, err = adapt("--json", "--max-fail-rate", "0.03")
    assert status == 0
    assert json.loads(out)["num_recordings"] == NUM_PEOPLE
    assert err.count("left out: ") == 2
    assert "left out: gone: " in err
    assert "left out: silence: silence: " in err
    without = bundle.load(Path("out")).adaptation
    write_list(crowd, "wav.scp", keys)
    adapt("--overwrite")
    assert bundle.load(Path("out")).adaptation.threshold == without.threshold


def test_too_many_that_cannot_be_read(adapt, crowd):
    keys = [f"p{n:02d}-0" for n in range(NUM_PEOPLE - 4)]
    gone = "".join(f"gone{n} {crowd}/gone{n}.wav\n" for n in range(4))
    write_list(crowd, "wav.scp", keys, gone)
    refused(
        adapt(), "wav.scp: 4 of 32 recordings cannot be read; repair them, or allow more with --max-fail-rate"
    )
    assert adapt("--max-fail-rate", "0.125")[0] == 0


def test_few_people_get_one_warning_with_the_width(adapt, crowd):
    write_list(crowd, "wav.scp", [f"p{n:02d}-0" for n in range(9)])
    status, _, err = adapt()
    low, high = bundle.load(Path("out")).adaptation.interval
    people = bundle.load(Path("out")).adaptation.num_people
    assert status == 0
    assert len(err.splitlines()) == 1
    width = f"may accept {100 * low:.2f} to {100 * high:.2f} % of pairs of strangers where 1.00 % are wanted"
    assert f"{people} people are few: the threshold {width}" in err
    assert high > 0.01  # which ten people cannot rule out


@pytest.mark.parametrize(("keys", "why"), [
    (["p00-0", "p01-0", "p02-0"], "3 usable recordings are too few to adapt to; give recordings of 30"),
    ([], "wav.scp"),
    (["silence"], "0 usable recordings are too few"),
])  # fmt: skip
def test_too_few_people(adapt, crowd, keys, why):
    write_list(crowd, "wav.scp", keys)
    refused(adapt(), why)


def test_recordings_of_two_people(adapt, crowd):
    keys = [f"p{n:02d}-{number}" for n in (0, 1) for number in (0, 1)]
    write_list(crowd, "wav.scp", keys)
    Path("utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in keys))
    refused(adapt("--utt2spk", "utt2spk"), "recordings of 2 people are too few to adapt to")


def test_copies_of_one_recording(adapt, crowd):
    Path("wav.scp").write_text("".join(f"k{n} {crowd}/p00-0.wav\n" for n in range(6)))
    refused(adapt(), "recordings of 1 people are too few")
    Path("utt2spk").write_text("".join(f"k{n} s{n}\n" for n in range(6)))
    refused(adapt("--utt2spk", "utt2spk"), "its recordings are all alike; give recordings of different")


def test_speakers_that_are_missing(adapt):
    Path("utt2spk").write_text("".join(f"p{n:02d}-0 p{n}\n" for n in range(NUM_PEOPLE - 2)))
    refused(
        adapt("--utt2spk", "utt2spk"),
        "no speaker for p30-0 (2 such recordings); give a line for each in --utt2spk",
    )
    refused(adapt("--utt2spk", "none"), "none: cannot be read")


def test_trials_that_do_not_fit(adapt, crowd):
    Path("trials").write_text("p00-0 p99-0 target\np00-0 p01-0 nontarget\n")
    refused(adapt("--trials", "trials"), "p99-0 is not among the recordings of wav.scp (1 such ids)")
    Path("trials").write_text("p00-0 p01-0\n")
    refused(adapt("--trials", "trials"), "trials: ")
    Path("trials").write_text("".join(f"p00-0 p{n:02d}-0 nontarget\n" for n in range(1, 32)))
    refused(adapt("--trials", "trials"), "no target trial")
    refused(adapt("--trials", "none"), "none: ")
    refused(adapt("--trials", "trials", "--operating-point", "x"), "no such operating point")


def test_trials_of_few_people(adapt, crowd):
    keys = [f"p{n:02d}-{number}" for n in range(6) for number in (0, 1)]
    write_list(crowd, "wav.scp", keys)
    Path("utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in keys))
    Path("trials").write_text("p00-0 p00-1 target\np00-0 p01-0 nontarget\n")
    outcome = adapt("--utt2spk", "utt2spk", "--trials", "trials")
    refused(outcome, "recordings of 6 people are too few to calibrate on")


def test_of_a_long_list_trials_of_what_is_left_out_do_not_count(adapt, crowd, monkeypatch):
    monkeypatch.setattr(adapting, "MAX_RECORDINGS", 40)
    keys = [f"p{n:02d}-{number}" for n in range(NUM_PEOPLE) for number in (0, 1)]
    write_list(crowd, "wav.scp", keys)
    Path("utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in keys))
    pairs = [(a, b) for a in keys for b in keys if a < b]
    Path("trials").write_text(
        "".join(f"{a} {b} {'target' if a[:3] == b[:3] else 'nontarget'}\n" for a, b in pairs)
    )
    status, out, err = adapt(
        "--utt2spk", "utt2spk", "--trials", "trials", "--json", "--operating-point", "0.1"
    )
    assert status == 0, err
    known = bundle.load(Path("out")).adaptation
    assert (status, json.loads(out)["num_recordings"]) == (0, 40)
    assert 0 < known.calibration.num_targets < 32
    assert known.calibration.num_targets + known.calibration.num_nontargets < 40 * 39 / 2


# Where it writes


def test_out_is_not_overwritten_unless_told(adapt, crowd):
    assert adapt()[0] == 0
    before = (Path("out") / bundle.CARD).read_bytes()
    status, _, err = adapt("--false-accept", "0.3")
    assert (status, err) == (1, "speakerlab adapt: out: exists; add --overwrite to replace it\n")
    assert (Path("out") / bundle.CARD).read_bytes() == before
    assert adapt("--false-accept", "0.3", "--overwrite")[0] == 0
    assert bundle.load(Path("out")).adaptation.false_accept == 0.3
    Path("mine").mkdir()
    Path("mine/letter").write_text("dear")
    status, _, err = adapt("--overwrite", out="mine")
    assert (status, err) == (1, "speakerlab adapt: mine: exists and is no bundle; name a new folder\n")
    assert Path("mine/letter").read_text() == "dear"


def test_out_is_of_the_kind_of_the_model(adapt):
    refused(adapt(out="out.onnx"), "out.onnx: OUT must be of the kind of MODEL", "out.onnx")
    refused(adapt(model="m.onnx"), "out: OUT must be of the kind of MODEL")
    refused(adapt(model="none.onnx", out="o.onnx"), "none.onnx: cannot be read", "o.onnx")


def test_no_such_model_and_no_list(adapt, crowd):
    refused(adapt(model="./none"), "none: no such file or folder")
    refused(
        adapt(recordings="none.scp"), "none.scp: no such file; --recordings takes a wav.scp or a data dir"
    )
    refused(adapt(recordings=crowd / "p00-0.wav"), "is one recording; --recordings takes a wav.scp of many")


@pytest.mark.parametrize("share", ["0", "1", "-0.1", "1.5", "nan", "x", "1%"])
def test_a_share_is_between_0_and_1(adapt, share):
    status, out, err = adapt(f"--false-accept={share}")
    assert (status, out) == (2, "")
    assert err.endswith(f"argument --false-accept: {share} is no share between 0 and 1, such as 0.01\n")
    assert not Path("out").exists()


def test_killed_half_way_it_leaves_nothing(here, crowd):
    """An entry of the list kills the process that reads it."""
    keys = [f"p{n:02d}-0" for n in range(NUM_PEOPLE)]
    write_list(crowd, "wav.scp", keys, "last kill -9 $PPID |\n")
    before = sorted(path.name for path in here.iterdir())
    command = [
        sys.executable,
        "-m",
        "speakerlab.bin.adapt_model",
        "--recordings",
        "wav.scp",
        crowd / "m",
        "out",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in here.iterdir()) == before
