"""An exported file as a model: the embeddings and decisions of its bundle, without torch."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from test_export import save

from speakerlab.embed.session import SessionConfig
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.hub import bundle
from speakerlab.hub.calibration import Calibration
from speakerlab.io.ark import ArkWriter
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline import pipeline
from speakerlab.predictor import Predictor
from speakerlab.types import Waveform

CALIBRATION = Calibration(20.0, -5.0, "sre", OperatingPoint(0.01, 1.0, 1.0), 0.5, "trials", 10, 90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, talkers):
    """A calibrated bundle, what is exported of it, and recordings, one of them at another rate."""
    path = tmp_path_factory.mktemp("graph")
    save(path / "model", threshold=0.31)
    with pytest.MonkeyPatch.context() as patch:
        for name, options in (("published", ()), ("feature", ("--input", "feature"))):
            export(patch, path, name, *options)
        bundle.calibrate(path / "model", CALIBRATION)
        export(patch, path, "model")
    for name, talker in zip("ab", talkers, strict=True):
        for number, waveform in enumerate(talker):
            soundfile.write(path / f"{name}{number}.wav", waveform.samples, 16000)
    soundfile.write(path / "a8k.wav", talkers[0][0].samples[::2], 8000)
    return path


def export(patch, path, name, *options):
    from speakerlab import cli

    arguments = ["--input", "waveform", *options, str(path / "model"), str(path / f"{name}.onnx")]
    patch.setattr(sys, "argv", ["speakerlab", "export", *arguments])
    cli.main()


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_embeddings_are_those_of_the_bundle(folder, batch_size):
    audio = [str(folder / name) for name in ("a0.wav", "b0.wav", "a8k.wav", "a1.wav")]
    noise = np.random.default_rng(0).standard_normal(20000).astype(np.float32) / 10
    expected = pipeline(model=folder / "model")([*audio, noise])
    found = pipeline(model=folder / "model.onnx", batch_size=batch_size)([*audio, noise])
    for a, b in zip(expected, found, strict=True):
        assert cosine(a["spk_embedding"], b["spk_embedding"]) > 0.99999
        assert (a["audio"], a["reasons"]) == (b["audio"], b["reasons"])


def test_decisions_are_those_of_the_bundle(folder):
    pair = (folder / "a0.wav", folder / "b0.wav")
    expected, found = (pipeline(model=folder / name)(pair) for name in ("model", "model.onnx"))
    assert found["threshold_origin"] == "calibrated"
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value, abs=1e-4) if key in ("cosine", "llr", "scores") else value)
    published = pipeline(model=folder / "published.onnx")(pair)
    assert (published["threshold"], published["threshold_origin"], published["llr"]) == (
        0.31,
        "published",
        None,
    )
    assert pipeline(model=folder / "model.onnx", sv_threshold=0.2)(pair)["threshold_origin"] == "given"


def test_people_enrolled_with_the_bundle_are_known_to_the_file(folder, tmp_path):
    Predictor(folder / "model", tmp_path / "people", threshold=0.9).register(folder / "a0.wav", "Ann")
    found = Predictor(folder / "model.onnx", tmp_path / "people", threshold=0.9)
    assert found.recognition(folder / "a0.wav").score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("command", ["verify {0}/a0.wav {0}/a0.wav", "embed --json {0}/a0.wav"])
def test_the_command_needs_no_torch(folder, command):
    arguments = [*command.format(folder).split(), "--model", f"{folder}/model.onnx"]
    code = (
        "import sys; from speakerlab import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'onnxruntime' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_damaged_byte_is_noticed(folder, tmp_path):
    data = (folder / "model.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    for place in np.linspace(0, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DataError, match="damaged|not a whole file"):
            WaveformGraph.load(path, 1)
    for end in (0, 100, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"damaged|not a whole file"):
            WaveformGraph.load(path, 1)


def test_what_it_cannot_do_is_said(folder, tmp_path):
    with pytest.raises(DataError, match="takes feature, not recordings; export it with --input waveform"):
        pipeline(model=folder / "feature.onnx")
    with pytest.raises(DataError, match=r"none\.onnx: cannot be read: No such file"):
        pipeline(model=tmp_path / "none.onnx")
    with pytest.raises(SpeakerLabError, match="run as it was exported"):
        pipeline(model=folder / "model.onnx", running=SessionConfig(tmp_path, "onnx", "bf16"))
    with ArkWriter(tmp_path / "f.ark", tmp_path / "f.scp") as writer:
        writer.write("u1", np.ones((200, 80), np.float32))
    found = pipeline(model=folder / "model.onnx")(f"{tmp_path}/f.scp,speech,kaldi_ark")
    assert "takes recordings" in found["u1"]["error"]


def test_shortest_recording(folder):
    graph = WaveformGraph.load(folder / "model.onnx", 1)
    least = int(graph.metadata["min_samples"])
    samples = np.random.default_rng(0).standard_normal(least).astype(np.float32) / 10
    found = graph.session.embed([graph.from_waveform("u", Waveform(samples, 16000))])
    assert np.isfinite(found).all()
    with pytest.raises(AudioError, match=f"u: {least - 1} samples, the model needs {least}"):
        graph.from_waveform("u", Waveform(samples[1:], 16000))
    with pytest.raises(SpeakerLabError, match="8000 Hz, the model needs 16000"):
        graph.from_waveform("u", Waveform(samples, 8000))
