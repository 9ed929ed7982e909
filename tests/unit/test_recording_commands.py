"""The commands for single recordings: output, JSON, exit status, standard input, microphone."""

import io
import json
import math
import sys
import types

import kaldiio
import numpy as np
import pytest
import soundfile
from conftest import RATE, save_tiny, speakerlab

from speakerlab import distribution
from speakerlab.bin import verify_speakers


@pytest.fixture(scope="module")
def folder(tmp_path_factory, talkers):
    """A model where recipe zero leaves it, and recordings of two talkers."""
    path = tmp_path_factory.mktemp("here")
    save_tiny(path / "exp/demo/model", threshold=0.5)
    for name, talker in zip("ab", talkers, strict=True):
        for number, waveform in enumerate(talker):
            soundfile.write(path / f"{name}{number}.wav", waveform.samples, RATE)
    soundfile.write(path / "silence.wav", np.full(RATE * 2, 1e-5), RATE, subtype="FLOAT")
    (path / "wav.scp").write_text("u1 a0.wav\nu2 b0.wav\nu3 none.wav\n")
    return path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Call ``speakerlab`` as the shell does, with the model here: (status, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def call(*arguments):
        if arguments[0] in {"verify", "enroll", "identify", "embed"} and "--model" not in arguments:
            arguments = (*arguments, "--model", "exp/demo/model")
        status = speakerlab(*arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_verify_says_score_threshold_and_decision(run):
    status, out, _ = run("verify", "a0.wav", "a0.wav")
    assert status == 0
    assert out.splitlines()[0].split() == ["decision", "same", "speaker"]
    assert "1.0000 (cosine; threshold 0.5000, published)" in out
    assert "not calibrated" in out
    status, out, _ = run("verify", "a0.wav", "b0.wav", "--threshold", "1")
    assert status == 3
    assert "different speakers" in out


def answer(**changes):
    """What ``verify`` has of a calibrated model, with changes."""
    known = {"kind": "trials", "domain": "calls", "made_of": "dev/trials"}
    told = {"model": "m", "domain": "speech", "calibration": known, "inside_calibration": True}
    told |= {"label": "Different", "score": 0.6, "threshold": 0.8, "threshold_origin": "calibrated"}
    return {**told, "llr": 2.5, "reasons": [], "notes": [], **changes}


def test_odds_are_told_inside_the_calibration_only():
    text = verify_speakers.text_of(answer())
    assert "12.2 times as likely from the same speaker (log-likelihood ratio +2.50)" in text
    assert "note       not likely enough for the operating point" in text
    assert "model      m, trained on speech, calibrated on calls" in text
    text = verify_speakers.text_of(answer(llr=-2.5))
    assert "12.2 times as likely from different speakers (log-likelihood ratio -2.50)" in text
    assert "note" not in text
    text = verify_speakers.text_of(answer(inside_calibration=None))
    assert "confidence log-likelihood ratio +2.50, if the calibration (dev/trials) holds here" in text
    assert "likely from" not in text
    text = verify_speakers.text_of(answer(llr=None, inside_calibration=False, notes=["it is far"]))
    assert "confidence not known: the calibration does not hold for these recordings" in text
    assert text.endswith("note       it is far")
    text = verify_speakers.text_of(answer(label="Uncertain", reasons=["0.40 s of speech"]))
    assert "confidence not known: there is no decision" in text
    assert "likely from" not in text


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1, "1.0 times"), (99.96, "100.0 times"), (4883, "4,900 times"), (1e7, "more than 1,000,000 times")],
)
def test_likelihood_ratios_are_written_in_digits(ratio, words):
    assert verify_speakers.times(math.log(ratio)) == words


def test_an_adapted_model_tells_what_its_threshold_accepts():
    known = {"kind": "adaptation", "domain": "calls", "false_accept": 0.005}
    known["false_accept_interval"] = [0.001, 0.0123]
    text = verify_speakers.text_of(answer(calibration=known, llr=None, threshold_origin="adapted"))
    assert (
        "confidence the threshold accepts 0.10 to 1.23 % of pairs of different people (0.5 % wanted)" in text
    )
    assert "score      0.6000 (adapted score; threshold 0.8000, adapted)" in text
    assert "model      m, trained on speech, adapted to calls" in text


def test_a_recording_that_is_not_there_is_named_alone(run):
    assert run("verify", "a0.wav", "none.wav")[::2] == (1, "speakerlab verify: none.wav: no such file\n")


def test_verify_as_json(run):
    status, out, _ = run("verify", "a0.wav", "b0.wav", "--json", "--threshold", "-1")
    found = json.loads(out)
    assert (status, found["label"], found["threshold_origin"]) == (0, "Same", "given")
    assert -1 <= found["cosine"] <= 1


def test_too_little_speech_is_no_decision(run):
    status, out, _ = run("verify", "a0.wav", "silence.wav")
    assert status == 4
    assert "uncertain" in out
    assert "because    second recording: silence" in out


def test_standard_input(run, folder, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO((folder / "a0.wav").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    status, out, _ = run("verify", "-", "a0.wav")
    assert status == 0
    assert "1.0000 (cosine" in out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    status, _, err = run("verify", "-", "a0.wav")
    assert (status, err) == (1, "speakerlab verify: -: nothing on standard input\n")


def test_people_from_enrolment_to_oblivion(run):
    status, out, _ = run("enroll", "Ann", "a0.wav", "a1.wav", "--voiceprints", "people")
    assert (status, out) == (0, "Ann: 2 voiceprints in people\n")
    status, out, _ = run("enroll", "Bob", "b0.wav", "--voiceprints", "people", "--json")
    found = json.loads(out)
    assert (status, found["name"], found["voiceprints"]) == (0, "Bob", 1)
    assert (found["model"], len(found["model_hash"]), found["domain"]) == ("exp/demo/model", 64, None)
    status, out, _ = run("people", "--voiceprints", "people")
    assert (status, out) == (0, "2\tAnn\n1\tBob\n")
    status, out, _ = run("identify", "b0.wav", "--voiceprints", "people")
    assert status == 0
    assert out.splitlines()[0] == "decision   Bob"
    assert out.splitlines()[3].split() == ["1.0000", "Bob"]
    status, out, _ = run("identify", "a0.wav", "--voiceprints", "people", "--threshold", "1", "--json")
    found = json.loads(out)
    assert (status, found["name"], found["nearest"]) == (
        3,
        None,
        max(found["ranking"], key=found["ranking"].get),
    )
    assert run("identify", "silence.wav", "--voiceprints", "people")[0] == 4
    assert run("people", "--voiceprints", "people", "--remove", "Bob")[:2] == (0, "Bob: forgotten\n")
    status, _, err = run("people", "--voiceprints", "people", "--remove", "Bob")
    assert (status, err) == (1, "speakerlab people: people: nobody is called 'Bob'\n")


def test_enrolment_is_all_or_nothing(run, folder):
    status, _, err = run("enroll", "Eve", "a0.wav", "silence.wav", "--voiceprints", "nobody")
    assert status == 1
    assert err.startswith("speakerlab enroll: silence.wav: cannot enrol Eve: silence")
    assert not (folder / "nobody").exists()


def test_embed_prints_kaldis_text_form(run):
    status, out, _ = run("embed", "a0.wav", "b0.wav")
    assert status == 0
    fields = [line.split() for line in out.splitlines()]
    assert [(one[0], one[1], one[-1], len(one)) for one in fields] == [
        ("a0.wav", "[", "]", 11), ("b0.wav", "[", "]", 11)
    ]  # fmt: skip
    found = json.loads(run("embed", "a0.wav", "--json")[1])["a0.wav"]
    np.testing.assert_allclose(found["spk_embedding"], [float(v) for v in fields[0][2:-1]], rtol=1e-6)
    assert found["audio"]["sample_rate"] == RATE


def test_the_channel_of_a_call_is_an_option(run, folder):
    """Two talkers on the two channels of one recording: each command listens to the one that it is told."""
    talkers = [soundfile.read(folder / f"{name}.wav", dtype="int16")[0] for name in ("a0", "b0")]
    size = min(map(len, talkers))
    soundfile.write(folder / "call.wav", np.stack([one[:size] for one in talkers], axis=1), RATE)
    for name, one in zip("ab", talkers, strict=True):
        soundfile.write(folder / f"{name}-cut.wav", one[:size], RATE)
    scores = []
    for channel, name in enumerate("ab"):
        told = json.loads(run("verify", "call.wav", "call.wav", "--channel", str(channel), "--json")[1])
        assert [one["channel"] for one in told["audio"]] == [channel] * 2
        heard = run("embed", "call.wav", "--channel", str(channel))[1].split()[1:]
        assert heard == run("embed", f"{name}-cut.wav")[1].split()[1:]
        assert run("enroll", name, "call.wav", "--channel", str(channel), "--voiceprints", "call.db")[0] == 0
        scores.append(run("identify", f"{name}-cut.wav", "--voiceprints", "call.db", "--json")[1])
    assert json.loads(scores[0])["nearest"] == "a"
    assert json.loads(scores[1])["score"] == pytest.approx(1.0, abs=1e-5)
    found = json.loads(run("identify", "call.wav", "--channel", "1", "--voiceprints", "call.db", "--json")[1])
    assert found["nearest"] == "b"
    status, _, err = run("embed", "call.wav", "--channel", "2")
    assert (status, "has no channel 2; it has 2, counted from 0" in err) == (1, True)
    assert run("verify", "a0.wav", "b0.wav", "--channel", "-1")[0] == 2


def test_embed_takes_the_backends_of_the_step(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch_said, onnx_said = (
        run("embed", "a0.wav", "--json", "--backend", name)[1] for name in ("torch", "onnx")
    )
    expected, found = (json.loads(said)["a0.wav"]["spk_embedding"] for said in (torch_said, onnx_said))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert list((tmp_path / "speakerlab").glob("optimised-*.onnx"))
    status, _, err = run("embed", "a0.wav", "--backend", "onnx", "--precision", "bf16")
    assert (status, err) == (1, "speakerlab embed: back-end onnx has no bf16; use --backend openvino\n")


def test_embed_writes_what_it_can_and_fails_for_the_rest(run, folder):
    status, out, err = run("embed", "wav.scp", "--output-dir", "out", "--batch-size", "2")
    assert status == 1
    assert out == "out/xvector.scp: 2 embeddings\n"
    assert "u3: " in err
    assert "none.wav: no such file" in err
    table = kaldiio.load_scp(str(folder / "out" / "xvector.scp"))
    assert sorted(table) == ["u1", "u2"]
    alone = json.loads(run("embed", "a0.wav", "--json")[1])["a0.wav"]["spk_embedding"]
    np.testing.assert_allclose(table["u1"], alone, atol=1e-5)


def test_one_name_twice(run):
    status, _, err = run("embed", "a0.wav", "a0.wav")
    assert (status, err) == (1, "speakerlab embed: a0.wav: two recordings of this name\n")


def test_no_such_model(run):
    status, _, err = run("verify", "a0.wav", "b0.wav", "--model", "none")
    assert status == 1
    assert err.count("\n") == 1
    assert "none: no such file or folder; " in err


def test_the_microphone(run, monkeypatch):
    class PortAudioError(Exception):
        pass

    def rec(frames, rate, channels, dtype):
        assert (frames, rate, channels, dtype) == (40000, RATE, 1, "float32")
        return np.full((frames, 1), 1e-5, dtype=np.float32)

    fake = types.SimpleNamespace(rec=rec, wait=lambda: None, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr("time.sleep", lambda _: None)
    status, out, err = run("verify", "a0.wav", "mic:2.5")
    assert status == 4
    assert "recording 2.5 s: speak now" in err
    assert "second recording: silence" in out
    monkeypatch.setattr(fake, "rec", lambda *_, **__: (_ for _ in ()).throw(PortAudioError("no device")))
    status, _, err = run("verify", "a0.wav", "mic")
    assert status == 1
    assert err.endswith("verify: the microphone cannot be used: no device\n")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, _, err = run("verify", "a0.wav", "mic")
    advice = distribution.how_to_install("mic")
    assert (status, err) == (1, f"speakerlab verify: sounddevice is not installed; run: {advice}\n")


def test_what_is_asked_wrongly_is_one_line_and_loses_nothing(run, folder, tmp_path):
    status, _, err = run("verify", "wav.scp", "a0.wav")
    assert (status, err) == (1, "speakerlab verify: wav.scp is a list of recordings; give one\n")
    (folder / "two words.wav").write_bytes((folder / "a0.wav").read_bytes())
    assert run("embed", "a0.wav", "--output-dir", str(tmp_path / "out"))[0] == 0
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    status, _, err = run("embed", "two words.wav", "--output-dir", str(tmp_path / "out"))
    assert (status, err) == (
        1,
        "speakerlab embed: 'two words.wav': is not a key: blanks end keys; name it in a wav.scp: KEY PATH\n",
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before
    assert run("embed", "two words.wav")[0] == 0


def test_folders_that_cannot_be_written(run):
    for command in (
        ("embed", "a0.wav", "--output-dir", "a0.wav"),
        ("embed", "a0.wav", "--output-dir", "a0.wav/x"),
        ("enroll", "Eve", "a0.wav", "--voiceprints", "a0.wav/x"),
        ("convert", "exp/demo/model", "a0.wav/x"),
    ):
        status, _, err = run(*command)
        assert status == 1
        assert "cannot be written: " in err
        assert len(err.splitlines()) == 1


def test_embed_lists_failures_and_gives_json_beside_files(run, tmp_path):
    status, out, _ = run("embed", "wav.scp", "--json", "--output-dir", str(tmp_path))
    assert (status, sorted(json.loads(out))) == (1, ["u1", "u2", "u3"])
    assert (tmp_path / "failures.tsv").read_text().startswith("u3\t")
