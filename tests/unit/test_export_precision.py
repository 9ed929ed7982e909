"""Export in reduced precision: the loss is measured, too much of it refused; extraction with such a file."""

import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from speakerlab import config as config_io
from speakerlab.bin import export_model, extract_embeddings
from speakerlab.data.datadir import DataDir
from speakerlab.embed import graph_loss
from speakerlab.embed.backends import open_session
from speakerlab.embed.session import SessionConfig
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.hub import bundle, onnx_export, onnx_file, onnx_precision
from speakerlab.io import audio
from speakerlab.types import Waveform

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 24},
    "model": {"name": "tdnn", "channels": [16, 16, 16, 16, 32], "embed_dim": 16},
}
CPU = torch.device("cpu")
REDUCED = ("fp16", "int8", "int8-dynamic")
# Lowest cosine to fp32 that each must reach: rounding to 11 bits costs 1e-6, to 8 bits some 1e-3.
LEAST = {"fp16": 0.9999, "int8": 0.97, "int8-dynamic": 0.98}


def save(path, seed=0, change=None):
    config = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
    torch.manual_seed(seed)
    model = config.model.build(feat_dim=24)
    if change:
        with torch.no_grad():
            change(model)
    bundle.save(path, model, config, 24, {})
    return bundle.load(path)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundle") / "m")


def export(*arguments):
    export_model.main(export_model.options().parse_args([str(each) for each in arguments]))


def export_reduced(source, target, precision, data):
    calibration = ["--calibration-data", data / "train"] if precision == "int8" else []
    export("--precision", precision, *calibration, "--measure-on", data / "test", source, target)


@pytest.fixture(scope="module")
def files(loaded, toy_data, tmp_path_factory):
    """The exported file of every reduced precision."""
    folder = tmp_path_factory.mktemp("graphs")
    for precision in REDUCED:
        export_reduced(loaded.path, folder / f"{precision}.onnx", precision, toy_data)
    return {precision: folder / f"{precision}.onnx" for precision in REDUCED}


def features():
    rng = np.random.default_rng(1)
    return [(3 * rng.standard_normal((length, 24))).astype(np.float32) for length in (70, 311, 99, 311)]


def run_directly(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"feature": each[None]})[0] for each in features()])


@pytest.mark.parametrize("precision", REDUCED)
def test_each_precision_is_close_and_says_what_it_lost(precision, loaded, files, toy_data):
    session = onnxruntime.InferenceSession(files[precision])
    assert {value.type for value in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    meta = session.get_modelmeta().custom_metadata_map
    assert (meta["precision"], meta["content_hash"]) == (precision, loaded.content_hash)
    assert {"frontend", "cmvn", "sample_rate", "feat_dim", "embed_dim"} <= meta.keys()
    lost = json.loads(meta["measured_loss"])
    assert (lost["data"], lost["num_utts"], lost["num_trials"]) == ("test", 15, 105)
    assert LEAST[precision] < lost["min_cosine"] <= lost["mean_cosine"] < 1.000001
    low, high = lost["eer_difference"]
    assert low <= lost["eer"] - lost["eer_fp32"] <= high
    with torch.inference_mode():
        expected = np.concatenate([loaded.model(torch.from_numpy(each[None])) for each in features()])
    found = run_directly(files[precision])
    assert np.abs(found - expected).max() > 1e-7, "nothing was reduced"
    assert (
        torch.cosine_similarity(torch.from_numpy(found), torch.from_numpy(expected)).min() > LEAST[precision]
    )


def test_weights_are_stored_in_fewer_bits_but_for_the_first_and_last_product(files):
    half = onnx.load(files["fp16"]).graph
    assert {onnx.TensorProto.FLOAT16} == {w.data_type for w in half.initializer if len(w.dims) > 1}
    graph = onnx.load(files["int8"]).graph
    kinds = {w.name: w.data_type for w in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in {"Conv", "Gemm", "MatMul"}]
    for number, node in enumerate(products):
        if number in {0, len(products) - 1}:
            assert kinds[node.input[1]] == onnx.TensorProto.FLOAT
        else:
            scaled = made_by[node.input[1]]
            assert scaled.op_type == "DequantizeLinear"
            assert kinds[scaled.input[0]] == onnx.TensorProto.INT8
            size = next(
                len(w.int32_data) or w.dims[0] for w in graph.initializer if w.name == scaled.input[1]
            )
            assert size == 16 or size == 32, "a scale for each channel"
            assert made_by[node.input[0]].op_type == "DequantizeLinear"
    assert len(products) > 4
    assert "ConvInteger" in {node.op_type for node in onnx.load(files["int8-dynamic"]).graph.node}


def test_a_plain_file_says_that_it_is_fp32(loaded, tmp_path):
    export(loaded.path, tmp_path / "m.onnx")
    meta = onnx_file.read(tmp_path / "m.onnx")
    assert (meta["precision"], meta["input"]) == ("fp32", "feature")
    assert "measured_loss" not in meta


def test_the_loss_is_computed_as_by_hand(loaded, toy_data, monkeypatch):
    """Embeddings turned by 0.1 rad: every cosine is cos 0.1, every trial scores what it did."""
    test = graph_loss.TestSet.load(toy_data / "test")
    data = test.data
    angles = np.array([int(utt_id[1:3]) + 0.3 * int(utt_id[-1]) for utt_id in data.utt_ids])
    before, after = (np.stack([np.cos(a), np.sin(a)], 1).astype(np.float32) for a in (angles, angles + 0.1))
    monkeypatch.setattr(graph_loss, "_both", lambda *_: (before, 7 * after))
    lost = graph_loss.measure(loaded, None, test)
    assert lost.mean_cosine == pytest.approx(math.cos(0.1), abs=1e-6)
    assert lost.min_cosine == pytest.approx(math.cos(0.1), abs=1e-6)
    assert lost.eer == lost.eer_fp32
    assert lost.eer_difference == (0.0, 0.0)
    monkeypatch.setattr(graph_loss, "_both", lambda *_: (before, np.roll(before, 3, axis=0)))
    with pytest.raises(
        SpeakerLabError, match=r"mean cosine of 0\.\d+ to fp32, 0\.9 is the least; nothing was"
    ):
        graph_loss.measure(loaded, None, test)
    monkeypatch.setattr(graph_loss, "_both", lambda *_: (before, np.full_like(before, np.inf)))
    with pytest.raises(SpeakerLabError, match="gives NaN or Inf; nothing was written"):
        graph_loss.measure(loaded, None, test)


def test_excerpts_are_spread_and_short(loaded, toy_data, monkeypatch):
    monkeypatch.setattr(graph_loss, "NUM_UTTS", 3)
    monkeypatch.setattr(graph_loss, "EXCERPT_S", 0.5)
    chosen = []
    read = audio.read
    monkeypatch.setattr(
        audio, "read", lambda rec, seg, rate: chosen.append(seg.utt_id) or read(rec, seg, rate)
    )
    feats = list(graph_loss.excerpts(loaded, DataDir.load(toy_data / "train")))
    assert chosen == ["s00-u0", "s04-u0", "s07-u3"]  # 0, 15.5 and 31 of 32
    assert [each.shape for each in feats] == [(48, 24)] * 3  # 8000 samples: (8000 - 400) // 160 + 1
    assert all(np.abs(each.mean(axis=0)).max() < 1e-4 for each in feats)


class Scaled(torch.nn.Module):
    """The input times ``inside``, then divided by it: only the value between is large."""

    min_frames = 1

    def __init__(self, inside):
        super().__init__()
        self.inside, self.linear = inside, torch.nn.Linear(4, 4)

    def forward(self, feats):
        return self.linear((feats * self.inside).mean(1) / self.inside)


def test_a_value_too_large_for_half_precision_is_found(tmp_path):
    feats = [np.ones((70, 4), np.float32), np.full((70, 4), 2, np.float32)]
    onnx_export.export(Scaled(30000.0), 4, tmp_path / "fits.onnx")
    onnx_precision.reduce_precision(tmp_path / "fits.onnx", "fp16", feats)
    onnx_export.export(Scaled(40000.0), 4, tmp_path / "m.onnx")
    with pytest.raises(
        SpeakerLabError, match=r"reaches 8e\+04, half precision ends at 65504; .*int8 or fp32"
    ):
        onnx_precision.reduce_precision(tmp_path / "m.onnx", "fp16", feats)


def test_a_network_without_products_between_the_ends_has_no_int8(tmp_path):
    onnx_export.export(Scaled(1.0), 4, tmp_path / "m.onnx")
    with pytest.raises(SpeakerLabError, match=r"has 1 products.*use --precision fp16"):
        onnx_precision.reduce_precision(tmp_path / "m.onnx", "int8", [np.ones((70, 4), np.float32)])


def huge(model):
    next(model.parameters()).mul_(1e7)


def test_nothing_is_published_where_it_fails(toy_data, tmp_path, loaded, monkeypatch):
    large = save(tmp_path / "large", change=huge)
    out = tmp_path / "out" / "m.onnx"
    with pytest.raises(SpeakerLabError, match=r"^weight .* reaches .*, half precision ends at 65504"):
        export_reduced(large.path, out, "fp16", toy_data)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    audio.write(tmp_path / "good.wav", Waveform(np.float32([0.1, -0.1] * 16000), 16000))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    (damaged / "wav.scp").write_text(f"bad {tmp_path}/bad.wav\ngood {tmp_path}/good.wav\n")
    options = ["--precision", "int8", "--measure-on", toy_data / "test", "--calibration-data"]
    with pytest.raises(DataError, match=r"damaged: bad: .*; mend the audio or take the utterance out"):
        export(*options, damaged, loaded.path, out)
    with pytest.raises(DataError, match="no such data dir"):
        export(*options, tmp_path / "none", loaded.path, out)
    with pytest.raises(DataError, match=r"damaged/utt2spk: missing; give the speakers"):
        export("--precision", "fp16", "--measure-on", damaged, loaded.path, out)
    (damaged / "utt2spk").write_text("bad s\ngood s\n")
    with pytest.raises(DataError, match="damaged/trials: "):
        export("--precision", "fp16", "--measure-on", damaged, loaded.path, out)
    (damaged / "trials").write_text("bad good target\n")
    with pytest.raises(DataError, match=r"damaged: bad: .*; mend the audio"):
        export("--precision", "fp16", "--measure-on", damaged, loaded.path, out)
    other = save(tmp_path / "other", seed=1)

    def wrong(path, _precision, _feats):
        onnx_export.export(other.model, 24, path)

    monkeypatch.setattr(onnx_precision, "reduce_precision", wrong)
    with pytest.raises(SpeakerLabError, match="mean cosine of"):
        export_reduced(loaded.path, out, "int8", toy_data)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "fp16"], "--precision fp16 needs --measure-on DIR"),
        (["--precision", "int8", "--measure-on", "d"], "--precision int8 needs --calibration-data DIR"),
        (["--precision", "int8", "--calibration-data", "d"], "--precision int8 needs --measure-on DIR"),
        (["--measure-on", "d"], "--measure-on is for reduced precision"),
        (["--calibration-data", "d"], "--calibration-data is for --precision int8"),
        (
            ["--precision", "fp16", "--measure-on", "d", "--calibration-data", "d"],
            "--calibration-data is for --precision int8",
        ),
        (
            ["--precision", "fp16", "--measure-on", "d", "--input", "waveform"],
            "--precision fp16 is for --input feature only",
        ),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(options, said, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        export(*options, "model", tmp_path / "m.onnx")
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("precision", REDUCED)
def test_a_session_of_a_graph_is_that_graph(precision, loaded, files, tmp_path):
    expected = run_directly(files[precision])
    for _ in range(2):  # the second opens what the first optimised and kept
        session = open_session(loaded, CPU, SessionConfig(tmp_path, "onnx", graph=files[precision]))
        assert np.abs(session.embed(features()) - expected).max() < 1e-5 * np.abs(expected).max()
    (kept,) = tmp_path.glob("optimised-*.onnx")
    kinds = [node.op_type for node in onnx.load(kept).graph.node]
    if precision == "int8":
        assert kinds.count("QLinearConv") >= 3


def test_openvino_runs_fp16_and_never_int8(loaded, files, tmp_path):
    expected = run_directly(files["fp16"])
    found = open_session(loaded, CPU, SessionConfig(tmp_path, "openvino", graph=files["fp16"])).embed(
        features()
    )
    assert torch.cosine_similarity(torch.from_numpy(found), torch.from_numpy(expected)).min() > 0.9999
    for precision in ("int8", "int8-dynamic"):
        with pytest.raises(SpeakerLabError, match=f"openvino runs no {precision} graph; use --backend onnx"):
            open_session(loaded, CPU, SessionConfig(tmp_path, "openvino", graph=files[precision]))


def test_auto_measures_only_what_runs_the_graph(loaded, files, tmp_path):
    for precision, backends in (("int8", {"onnx"}), ("fp16", {"onnx", "openvino"})):
        folder = tmp_path / precision
        open_session(loaded, CPU, SessionConfig(folder, "auto", graph=files[precision]))
        (choice,) = folder.glob("choice-*.json")
        assert json.loads(choice.read_text()).keys() == backends


def test_torch_and_gpus_run_no_graph(loaded, files, tmp_path):
    with pytest.raises(SpeakerLabError, match="torch runs no graph; use --backend onnx"):
        SessionConfig(tmp_path, "torch", graph=files["int8"])
    with pytest.raises(SpeakerLabError, match="CPU only"):
        open_session(loaded, torch.device("cuda"), SessionConfig(tmp_path, "auto", graph=files["int8"]))


def test_files_that_are_not_of_this_model_are_refused(loaded, files, tmp_path):
    def opened(model, path):
        open_session(model, CPU, SessionConfig(tmp_path / "cache", "onnx", graph=path))

    with pytest.raises(DataError, match="is of another model"):
        opened(save(tmp_path / "other", seed=1), files["int8"])
    export("--input", "waveform", loaded.path, tmp_path / "waveform.onnx")
    with pytest.raises(DataError, match="takes waveform, not features; export it with --input feature"):
        opened(loaded, tmp_path / "waveform.onnx")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        opened(loaded, tmp_path / "none.onnx")
    content = files["int8"].read_bytes()
    at = content.index(onnx.load(files["int8"]).graph.initializer[0].raw_data or b"\x0a")
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    for damaged in (content[:1000], content[:-10], b"", b"no graph", flipped):
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged\.onnx: is (damaged|cut off).*export it again"):
            opened(loaded, tmp_path / "damaged.onnx")
    assert not (tmp_path / "cache").exists()


def test_runs_with_different_graphs_are_not_mixed(loaded, files, toy_data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def extract(*options):
        arguments = ["--model", loaded.path, toy_data / "test", tmp_path / "out", "--device", "cpu", *options]
        extract_embeddings.main(extract_embeddings.options().parse_args([str(each) for each in arguments]))

    with pytest.raises(SpeakerLabError, match="torch runs no graph"):
        extract("--graph", files["int8"])
    assert not (tmp_path / "out").exists()  # nothing is claimed for it
    extract("--backend", "onnx", "--graph", files["int8"])
    extract("--backend", "auto", "--graph", files["int8"])  # the same run
    for other in (["--backend", "onnx"], ["--backend", "onnx", "--graph", files["fp16"]]):
        with pytest.raises(DataError, match="graph"):
            extract(*other)
    with pytest.raises(DataError, match="no such file|cannot be read"):
        extract("--backend", "onnx", "--graph", tmp_path / "none.onnx")
