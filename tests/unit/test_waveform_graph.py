"""An exported file as a model: the embeddings and decisions of its bundle, without torch."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile
from test_export import save

from speakerlab.bin import session_arguments
from speakerlab.embed.session import SessionConfig
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.hub import bundle, onnx_file
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


@pytest.mark.parametrize("batch_size", [1, 4])
def test_embeddings_are_those_of_the_bundle(folder, batch_size):
    audio = [str(folder / name) for name in ("a0.wav", "b0.wav", "a8k.wav", "a1.wav")]
    noise = np.random.default_rng(0).standard_normal(20000).astype(np.float32) / 10
    expected = pipeline(model=folder / "model")([*audio, noise])
    found = pipeline(model=folder / "model.onnx", batch_size=batch_size)([*audio, noise])
    for a, b in zip(expected, found, strict=True):
        scale = np.abs(a["spk_embedding"]).max()  # another recording of the talker is 100 times as far away
        np.testing.assert_allclose(b["spk_embedding"], a["spk_embedding"], rtol=0, atol=5e-5 * scale)
        assert (a["audio"], a["reasons"]) == (b["audio"], b["reasons"])


def test_decisions_are_those_of_the_bundle(folder):
    pair = (folder / "a0.wav", folder / "b0.wav")
    expected, found = (pipeline(model=folder / name)(pair) for name in ("model", "model.onnx"))
    assert found["threshold_origin"] == "calibrated"
    for key, value in expected.items():
        if key == "model":  # the path
            continue
        assert found[key] == (
            pytest.approx(value, abs=1e-5) if key in ("cosine", "score", "llr", "scores") else value
        )
    published = pipeline(model=folder / "published.onnx")(pair)
    assert (published["threshold"], published["threshold_origin"]) == (0.31, "published")
    assert published["llr"] is None
    assert pipeline(model=folder / "model.onnx", sv_threshold=0.2)(pair)["threshold_origin"] == "given"


def test_people_enrolled_with_the_bundle_are_known_to_the_file(folder, tmp_path):
    Predictor(folder / "model", tmp_path / "people", threshold=0.9).register(folder / "a0.wav", "Ann")
    found = Predictor(folder / "model.onnx", tmp_path / "people", threshold=0.9)
    assert found.recognition(folder / "a0.wav").score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "command",
    [
        "verify {0}/a0.wav {0}/a0.wav",
        "embed --json {0}/a0.wav {0}/a8k.wav",
        "enroll Ann {0}/a0.wav --voiceprints {1}/new",
        "identify {0}/a0.wav --voiceprints {1}/people",
    ],
)
def test_the_command_needs_no_torch(folder, command, tmp_path):
    Predictor(folder / "model.onnx", tmp_path / "people").register(folder / "a0.wav", "Ann")
    arguments = [*command.format(folder, tmp_path).split(), "--model", f"{folder}/model.onnx"]
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
    seal = data.index(b"file_sha256")
    for place in (*np.linspace(0, len(data) - 1, 40).astype(int), seal, seal + 20, data.index(b"0.31")):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DataError, match="damaged|cut off"):
            WaveformGraph.load(path, 1)
    for end in (0, 100, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"damaged|cut off"):
            WaveformGraph.load(path, 1)


def test_what_it_cannot_do_is_said(folder, tmp_path):
    with pytest.raises(DataError, match="takes feature, not recordings; export it with --input waveform"):
        pipeline(model=folder / "feature.onnx")
    with pytest.raises(DataError, match=r"none\.onnx: cannot be read: No such file"):
        pipeline(model=tmp_path / "none.onnx")
    for other in (("onnx", "bf16"), ("openvino", "fp32")):
        with pytest.raises(SpeakerLabError, match="in ONNX Runtime as it was exported"):
            pipeline(model=folder / "model.onnx", running=SessionConfig(tmp_path, *other))
    with pytest.raises(SpeakerLabError, match="ngpu is 7"):
        pipeline(model=folder / "model.onnx", ngpu=7)
    with ArkWriter(tmp_path / "f.ark", tmp_path / "f.scp") as writer:
        writer.write("u1", np.ones((200, 80), np.float32))
    found = pipeline(model=folder / "model.onnx")(f"{tmp_path}/f.scp,speech,kaldi_ark")
    assert f"{tmp_path}/f.scp u1: {folder}/model.onnx takes no features" in found["u1"]["error"]


def test_a_graph_for_a_later_onnxruntime_is_refused(folder, tmp_path):
    graph = onnx.load(folder / "model.onnx")
    graph.ir_version = 99
    onnx.save(graph, tmp_path / "m.onnx")
    onnx_file.write(tmp_path / "m.onnx", {"content_hash": "0"})
    with pytest.raises(DataError, match=r"m\.onnx: cannot be run: .*IR version: 99.*; upgrade onnxruntime"):
        pipeline(model=tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "entries", [{"content_hash": None}, {"sample_rate": "x"}, {"adaptation": "{"}, {"calibration": "{}"}]
)
def test_metadata_of_another_version_are_refused(folder, tmp_path, entries):
    told = {key: value for key, value in onnx_file.read(folder / "model.onnx").items() if key != "input"}
    changed = {key: value for key, value in {**told, **entries}.items() if value is not None}
    changed.pop("file_sha256")
    shutil.copy(folder / "model.onnx", tmp_path / "m.onnx")
    onnx_file.write(tmp_path / "m.onnx", changed)
    with pytest.raises(DataError, match=r"m\.onnx: its metadata are not of this version .*; export it again"):
        pipeline(model=tmp_path / "m.onnx")


def test_a_bundle_may_be_called_anything(folder, tmp_path):
    path = shutil.copytree(folder / "model", tmp_path / "bundle.onnx")
    assert pipeline(model=path).model.content_hash == WaveformGraph.load(folder / "model.onnx").content_hash


def test_threads_are_those_the_launcher_gives(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert session_arguments.default().num_threads == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert session_arguments.default().num_threads == len(os.sched_getaffinity(0))


def test_shortest_recording(folder):
    graph = WaveformGraph.load(folder / "model.onnx", 1)
    least = graph.min_samples
    samples = np.random.default_rng(0).standard_normal(least).astype(np.float32) / 10
    found = graph.session.embed([graph.from_waveform("u", Waveform(samples, 16000))])
    assert np.isfinite(found).all()
    with pytest.raises(AudioError, match=f"u: {least - 1} samples, the model needs {least}"):
        graph.from_waveform("u", Waveform(samples[1:], 16000))
    with pytest.raises(SpeakerLabError, match="8000 Hz, the model needs 16000"):
        graph.from_waveform("u", Waveform(samples, 8000))


def test_the_runtime_tells_nobody_that_it_is_used(folder, tmp_path):
    """onnxruntime's telemetry is on by default: it would leave a device id in the cache."""
    code = "import sys; from pathlib import Path; from speakerlab.embed.waveform_graph import WaveformGraph\n"
    code += f"WaveformGraph.load(Path({str(folder / 'model.onnx')!r}), 1)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=environment, check=True)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["Microsoft"])  # other versions have none
