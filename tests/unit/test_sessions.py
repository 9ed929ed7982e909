"""Every back-end gives torch's embeddings; graphs are cached, shared, and rebuilt when damaged."""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speakerlab import __version__
from speakerlab import config as config_io
from speakerlab.bin import session_arguments
from speakerlab.embed import backends, graphs
from speakerlab.embed.backends import open_session
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.session import SessionConfig
from speakerlab.embed.torch_session import TorchSession, rounded_up
from speakerlab.errors import DataError, MissingExtraError, SpeakerLabError
from speakerlab.hub import bundle
from speakerlab.pipeline import pipeline
from speakerlab.types import Waveform

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 24},
    "model": {"name": "tdnn", "channels": [16, 16, 16, 16, 32], "embed_dim": 16},
}
CPU = torch.device("cpu")
TOLERANCE = 1e-4  # of the largest component, as between implementations


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundle") / "m"
    bundle.save(path, config.model.build(feat_dim=24), config, 24, {})
    return bundle.load(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def features():
    rng = np.random.default_rng(1)
    return [rng.standard_normal((length, 24)).astype(np.float32) for length in (70, 311, 99, 311, 1203)]


def cosines(ours, theirs):
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


@pytest.mark.parametrize("backend", ["onnx", "openvino", "auto"])
def test_backends_equal_torch_alone_and_in_a_batch(loaded, cache, backend):
    expected = np.concatenate(
        [open_session(loaded, CPU, SessionConfig(cache)).embed([f]) for f in features()]
    )
    session = open_session(loaded, CPU, SessionConfig(cache, backend))
    alone = np.concatenate([session.embed([f]) for f in features()])
    for found in (session.embed(features()), alone):
        assert found.shape == (5, 16)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def capabilities():
    import openvino

    return openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bf16_stays_close_to_fp32(loaded, cache):
    config = SessionConfig(cache, "openvino", "bf16")
    if "BF16" not in capabilities():
        with pytest.raises(SpeakerLabError, match="no bf16"):
            open_session(loaded, CPU, config)
        return
    expected = open_session(loaded, CPU, SessionConfig(cache)).embed(features())
    found = open_session(loaded, CPU, config).embed(features())
    assert np.abs(found - expected).max() > 1e-6, "bf16 was not used"
    assert cosines(found, expected).min() > 0.999


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_precision_that_a_backend_lacks_is_refused(loaded, cache, backend):
    with pytest.raises(SpeakerLabError, match="bf16.*--backend openvino"):
        open_session(loaded, CPU, SessionConfig(cache, backend, "bf16"))


def test_graphs_are_for_the_cpu(loaded, cache):
    with pytest.raises(SpeakerLabError, match="CPU only"):
        open_session(loaded, torch.device("cuda"), SessionConfig(cache, "onnx"))


@pytest.mark.parametrize(("backend", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_one_line(loaded, cache, monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*requirements/{backend}\.txt"):
        open_session(loaded, CPU, SessionConfig(cache, backend))


def test_a_graph_is_made_anew_by_another_version_of_ours(loaded, monkeypatch):
    key = graphs.graph_key(loaded)
    assert key["speakerlab"] == __version__
    monkeypatch.setattr(graphs, "__version__", "99")
    assert {name for name, value in graphs.graph_key(loaded).items() if value != key[name]} == {"speakerlab"}


def test_a_batch_of_an_extractor_takes_any_backend(loaded, cache):
    rng = np.random.default_rng(2)
    waves = [Waveform(0.1 * rng.standard_normal(n).astype(np.float32), 16000) for n in (16000, 23456)]
    expected = Extractor.of_bundle(loaded).embed(waves)
    found = Extractor.of_bundle(loaded, "cpu", SessionConfig(cache, "onnx")).embed(waves)
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def test_the_choice_is_measured_once_kept_and_said(loaded, cache, caplog, monkeypatch):
    caplog.set_level("INFO")
    first = backends.fastest(loaded, SessionConfig(cache))
    times = json.loads(next(cache.glob("choice-*.json")).read_text())
    assert set(times) == {"torch", "onnx", "openvino"}
    assert first == min(times, key=times.get)
    assert f"back-end {first} is the fastest" in caplog.text
    monkeypatch.setattr(backends, "_measured", lambda *_: pytest.fail("measured again"))
    assert backends.fastest(loaded, SessionConfig(cache)) == first


class Turned:
    """A session whose embeddings are those of another, turned away from them."""

    def __init__(self, session, amount):
        self.session, self.amount = session, amount

    def embed(self, batch):
        found = self.session.embed(batch)
        return found + self.amount * np.linalg.norm(found) * np.eye(found.shape[1], dtype=np.float32)[0]


@pytest.mark.parametrize(
    ("precision", "amount", "kept"),
    [
        ("fp32", 0.001, True),
        ("fp32", 0.1, False),
        ("fp32", np.nan, False),
        ("bf16", 0.1, True),
        ("bf16", 0.5, False),
    ],
)
def test_auto_leaves_out_a_backend_that_does_not_agree(
    loaded, tmp_path, monkeypatch, caplog, precision, amount, kept
):
    """A vector with ``a`` of its length added across it has cosine 1 / sqrt(1 + a^2)."""
    caplog.set_level("INFO")
    real = TorchSession(loaded.model, CPU)

    def opened(backend, *_):
        if backend == "openvino":
            return Turned(real, amount)
        if precision == "bf16":
            raise SpeakerLabError("not here")
        return real

    monkeypatch.setattr(backends, "_open", opened)
    config = SessionConfig(tmp_path, precision=precision)
    if kept or precision == "fp32":
        backends.fastest(loaded, config)
        times = json.loads(next(tmp_path.glob("choice-*.json")).read_text())
        assert ("openvino" in times) == kept
    else:
        with pytest.raises(SpeakerLabError, match="no back-end here runs bf16"):
            backends.fastest(loaded, config)
    said = "back-end openvino is left out: the cosine of its embedding to that of torch in fp32 is"
    assert (said in caplog.text) == (not kept)


@pytest.mark.parametrize(("amount", "kept"), [(0.1, True), (0.4, True), (0.6, False)])  # cosine 0.93, 0.86
def test_auto_lets_a_given_graph_lose_what_its_export_measured(loaded, tmp_path, monkeypatch, amount, kept):
    real = TorchSession(loaded.model, CPU)
    opened = []

    def open_one(backend, *_):
        opened.append(backend)
        return Turned(real, amount)

    monkeypatch.setattr(backends, "_open", open_one)
    monkeypatch.setattr(backends.graphs, "of", lambda *_: backends.graphs.Graph({}, "int8", lambda: tmp_path))
    config = SessionConfig(tmp_path, "auto", graph=tmp_path / "m.onnx")
    if kept:
        assert backends.fastest(loaded, config) in {"onnx", "openvino"}
    else:
        with pytest.raises(SpeakerLabError, match="no back-end here"):
            backends.fastest(loaded, config)
    assert opened == ["onnx", "openvino"]  # torch runs no graph


def test_ever_new_lengths_are_few_tensor_shapes(loaded):
    shapes = set()
    handle = loaded.model.register_forward_pre_hook(lambda _, inputs: shapes.add(tuple(inputs[0].shape)))
    session = TorchSession(loaded.model, CPU)
    for length in range(100, 1500, 3):
        session.embed([np.ones((length, 24), np.float32)])
    handle.remove()
    assert len(shapes) < 40
    longer = [rounded_up(length) / length for length in range(1, 5000)]
    assert min(longer) >= 1
    assert max(longer) <= 1.125
    assert 1.03 < np.mean(longer) < 1.05


def test_memory_of_openvino_does_not_grow_with_the_lengths(loaded, cache):
    """It would keep kernels of each length, half a MiB of this network."""

    def resident_mib():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    session = open_session(loaded, CPU, SessionConfig(cache, "openvino"))
    for length in range(900, 1000):
        session.embed([np.ones((length, 24), np.float32)])
    before = resident_mib()
    for length in range(100, 500):
        session.embed([np.ones((length, 24), np.float32)])
    assert resident_mib() - before < 40


def test_auto_without_any_graph_is_torch(loaded, tmp_path, monkeypatch):
    for package in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    assert backends.fastest(loaded, SessionConfig(tmp_path)) == "torch"
    with pytest.raises(SpeakerLabError, match="no back-end here runs bf16"):
        backends.fastest(loaded, SessionConfig(tmp_path, precision="bf16"))


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_damaged_graph_is_rebuilt(loaded, cache, backend, caplog):
    config = SessionConfig(cache, backend)
    expected = open_session(loaded, CPU, config).embed(features())
    files = [p for p in cache.iterdir() if p.suffix in {".onnx", ".blob"}]
    for path in files:
        path.write_bytes(path.read_bytes()[:1000])
    assert np.array_equal(open_session(loaded, CPU, config).embed(features()), expected)
    assert "is damaged and made anew" in caplog.text
    assert len([p for p in files if p.stat().st_size > 1000]) >= 2  # the exported graph and its own


def test_workers_that_want_one_file_build_it_once(tmp_path):
    built = []

    def build(path):
        built.append(path)
        path.write_text("content")

    def worker():
        assert GraphCache(tmp_path / "c").get("x", "txt", {"k": "1"}, build).read_text() == "content"

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    GraphCache(tmp_path / "c").get("x", "txt", {"k": "2"}, build)
    assert len(built) == 2


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(path):
        path.write_text("half")
        raise SpeakerLabError("no")

    with pytest.raises(SpeakerLabError):
        GraphCache(tmp_path).get("x", "txt", {}, fail)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        GraphCache(tmp_path / "file").get("x", "txt", {}, lambda path: path.write_text(""))


# --- without a word about caches and threads


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("/else/where", "/else/where/speakerlab"),
        ("relative", "HOME/.cache/speakerlab"),
        ("", "HOME/.cache/speakerlab"),
    ],
)
def test_the_cache_is_the_users(monkeypatch, tmp_path, named, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = expected.replace("HOME", str(tmp_path))
    assert str(SessionConfig(backend="onnx").cache_dir) == found
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert SessionConfig().cache_dir == tmp_path / ".cache/speakerlab"
    assert session_arguments.default().cache_dir == SessionConfig().cache_dir


@pytest.mark.parametrize(
    ("running", "cosine"),
    [
        (SessionConfig(backend="onnx"), 1 - 1e-6),
        (SessionConfig(backend="openvino"), 1 - 1e-6),
        (SessionConfig(backend="openvino", precision="bf16"), 0.99),
        (SessionConfig(backend="auto"), 1 - 1e-6),
        (SessionConfig(), 1 - 1e-6),
    ],
    ids=lambda value: f"{value.backend}-{value.precision}" if isinstance(value, SessionConfig) else "",
)
def test_the_pipeline_runs_as_its_documentation_shows(loaded, talkers, cache, running, cosine):
    if running.precision == "bf16" and "BF16" not in capabilities():
        with pytest.raises(SpeakerLabError, match="this processor has no bf16"):
            pipeline(model=loaded, ngpu=0, running=replace(running, cache_dir=cache))
        return
    samples = talkers[0][0].samples
    expected = pipeline(model=loaded, ngpu=0)(samples)["spk_embedding"]
    found = pipeline(model=loaded, ngpu=0, running=replace(running, cache_dir=cache))(samples)[
        "spk_embedding"
    ]
    assert cosines(found[None], expected[None])[0] >= cosine


def test_the_shortest_settings_use_every_core_and_the_users_cache(loaded, monkeypatch, tmp_path, talkers):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert SessionConfig().num_threads == len(os.sched_getaffinity(0))
    pipeline(model=loaded, ngpu=0, running=SessionConfig(backend="onnx"))(talkers[0][0].samples)
    assert [path.suffix for path in (tmp_path / "speakerlab").glob("optimised-*.onnx")] == [".onnx"]
