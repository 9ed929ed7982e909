"""Every runtime gives the embeddings of torch, whatever network, length and version."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import ASSETS, NETWORKS, RATE, run, voiced

from speakerlab.embed.extractor import Extractor
from speakerlab.hub import onnx_file
from speakerlab.io.ark import FeatureTable
from speakerlab.types import Waveform

FRAMES = (199, 200, 298, 345, 500)
# folders with ONNX Runtime's library: two older versions, and the one of the environment
RUNTIMES = os.environ["SPEAKERLAB_TEST_RUNTIMES"].split(":")
CONFIG = ASSETS / "fbank_config.json"


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def in_16_bits(samples):
    return (np.rint(samples * 32768) / 32768).astype(np.float32)


@pytest.fixture
def recordings(wav):
    """Samples and files of 199 to 500 frames, from loud to very quiet."""
    found = {}
    for number, frames in enumerate(FRAMES):
        samples = in_16_bits(voiced((400 + 160 * (frames - 1)) / RATE, number, level=0.3 / 5**number))
        found[f"utt{number}"] = samples, wav(f"{number}.wav", samples)
    return found


def embedded(tmp_path, scp, recordings, graph, *options, config=CONFIG):
    entries = scp({key: path for key, (_, path) in recordings.items()})
    out = tmp_path / "embedding.scp"
    run("extract_speaker_embedding", *options, config, graph, entries, out, tmp_path / "out", "--ark")
    return FeatureTable(out)


def check(found, loaded, recordings):
    extractor = Extractor.of_bundle(loaded)
    assert list(found) == list(recordings)
    for key, (samples, _) in recordings.items():
        expected = extractor.embed([Waveform(samples, RATE)])[0]
        assert found[key].shape == expected.shape
        assert cosine(found[key].astype(np.float64), expected.astype(np.float64)) >= 0.99999
        assert np.abs(found[key] - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda path: Path(path).parts[-3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_version_agrees_with_torch(tmp_path, scp, recordings, models, name, runtime):
    loaded, graph = models(name)
    found = embedded(tmp_path, scp, recordings, graph, "--runtime", runtime, config="-")
    check(found, loaded, recordings)


def test_the_runtimes_are_three():
    versions = [next(Path(path).glob("libonnxruntime.so.*")).name for path in RUNTIMES]
    assert versions[:2] == ["libonnxruntime.so.1.19.2", "libonnxruntime.so.1.24.4"]
    assert len(set(versions)) == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_agrees_with_torch(tmp_path, scp, recordings, models, name):
    loaded, graph = models(name)
    check(embedded(tmp_path, scp, recordings, graph, "--engine", "openvino", config="-"), loaded, recordings)


def test_bf16_of_openvino_keeps_the_direction(tmp_path, scp, recordings, models):
    _, graph = models("published")
    exact = embedded(tmp_path, scp, recordings, graph, config="-")
    options = ("--engine", "openvino", "--precision", "bf16")
    if "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        entries = scp({key: path for key, (_, path) in recordings.items()})
        arguments = ("-", graph, entries, tmp_path / "o.scp", tmp_path / "o")
        assert "has no bf16" in run("extract_speaker_embedding", *options, *arguments, check=1).stderr
        return
    expected = {key: exact[key] for key in recordings}
    found = embedded(tmp_path, scp, recordings, graph, *options, config="-")
    cosines = [cosine(found[key], expected[key]) for key in recordings]
    assert min(cosines) > 0.99  # of audio that is no speech; of speech 0.999, see tests/published
    assert max(cosines) < 1 - 1e-7  # it is another precision


def test_threads_and_jobs_change_nothing(tmp_path, scp, recordings, models):
    _, graph = models("published")
    alone = dict(embedded(tmp_path, scp, recordings, graph, config="-").items())
    jobs = embedded(tmp_path, scp, recordings, graph, "--jobs", "3", config="-")
    assert all(np.array_equal(jobs[key], alone[key]) for key in alone)
    threads = embedded(tmp_path, scp, recordings, graph, "--threads", "2", config="-")
    assert all(cosine(threads[key], alone[key]) > 0.999999 for key in alone)


def test_a_waveform_graph_agrees_with_torch(tmp_path, scp, recordings, waveform_graph, models):
    loaded, _ = models("published")
    check(embedded(tmp_path, scp, recordings, waveform_graph, config="-"), loaded, recordings)


def test_settings_that_differ_from_the_model_are_refused(tmp_path, scp, recordings, models):
    _, graph = models("published")
    config = tmp_path / "c.json"
    config.write_text('{"FrameExtractionOptions": {"dither": 1.0, "window_type": "hamming"}}')
    entries = scp({key: path for key, (_, path) in recordings.items()})
    arguments = (config, graph, entries, tmp_path / "o.scp", tmp_path / "o")
    said = run("extract_speaker_embedding", *arguments, check=1).stderr
    assert "dither=1 (model 0), window_type=hamming (model povey)" in said
    assert said.count("\n") == 1


def test_a_foreign_file_without_metadata(tmp_path, scp, recordings, models):
    """The seed's export: input feature, output embedding, opset 11 and no more; the mean is subtracted."""
    import onnx

    loaded, graph = models("published")
    told = onnx.load(graph)
    del told.metadata_props[:]
    onnx.save(told, tmp_path / "foreign.onnx")
    config = tmp_path / "c.json"
    config.write_text('{"scale": 1}')  # what 3D-Speaker's models are trained with
    found = embedded(tmp_path, scp, recordings, tmp_path / "foreign.onnx", config=config)
    check(found, loaded, recordings)
    entries = scp({key: path for key, (_, path) in recordings.items()})
    arguments = ("-", tmp_path / "foreign.onnx", entries, tmp_path / "o.scp", tmp_path / "o")
    assert "give fbank_config.json" in run("extract_speaker_embedding", *arguments, check=1).stderr


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[: len(data) // 2], "is no ONNX file, or cut off"),
        (lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "does not match its hash"),
        (lambda data: data[:0], "is no ONNX file"),
        (lambda data: b"RIFF" + data, "is no ONNX file"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, scp, recordings, models, damage, why):
    _, graph = models("ecapa_tdnn")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(damage(graph.read_bytes()))
    entries = scp({key: path for key, (_, path) in recordings.items()})
    arguments = ("-", broken, entries, tmp_path / "o.scp", tmp_path / "o")
    said = run("extract_speaker_embedding", *arguments, check=1).stderr
    assert said.startswith(str(broken))
    assert why in said
    assert said.count("\n") == 1


def test_another_front_end_is_refused(tmp_path, scp, recordings, models):
    _, graph = models("ecapa_tdnn")
    copy = tmp_path / "mfcc.onnx"
    copy.write_bytes(graph.read_bytes())
    told = {key: value for key, value in onnx_file.read(graph).items() if key not in {"input", "file_sha256"}}
    onnx_file.write(copy, {**told, "frontend": json.dumps({"name": "mfcc"})})
    entries = scp({key: path for key, (_, path) in recordings.items()})
    arguments = ("-", copy, entries, tmp_path / "o.scp", tmp_path / "o")
    said = run("extract_speaker_embedding", *arguments, check=1).stderr
    assert "takes mfcc features, which are not made here; export it with --input waveform" in said


def test_a_missing_runtime_is_one_line(tmp_path, scp, recordings, models):
    _, graph = models("ecapa_tdnn")
    entries = scp({key: path for key, (_, path) in recordings.items()})
    arguments = ("-", graph, entries, tmp_path / "o.scp", tmp_path / "o")
    for place, why in (
        (tmp_path / "none.so", "cannot be loaded"),
        (tmp_path, "wheels before 1.19 have none"),
    ):
        said = run("extract_speaker_embedding", "--runtime", place, *arguments, check=1).stderr
        assert why in said
        assert "pip install onnxruntime" in said
        assert said.count("\n") == 1
    bare = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    said = run("extract_speaker_embedding", *arguments, check=1, env=bare).stderr
    assert said.startswith("no ONNX Runtime was found")


def test_the_wheel_of_the_active_environment_is_found(tmp_path, scp, recordings, models):
    loaded, graph = models("ecapa_tdnn")
    found = embedded(tmp_path, scp, recordings, graph, config="-")
    check(found, loaded, recordings)
