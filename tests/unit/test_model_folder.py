"""What a model's own description names stays inside the model's folder, whatever the description says."""

import json

import numpy as np
import onnx
import pytest
import torch

from speakerlab import config as config_io
from speakerlab import registry
from speakerlab.embed import graphs
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import ConfigError, DataError
from speakerlab.hub import bundle, foreign, keras_h5, modelscope_dir, onnx_file
from speakerlab.hub.load import load_model

SETTINGS = {"model": {"name": "tdnn", "channels": [8, 8, 8, 8, 16], "embed_dim": 4}}


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("model.pt", True),
        ("weights/model.pt", True),
        ("a..b.pt", True),
        ("..model", True),
        ("sub/a:b.pt", True),
        ("", False),
        ("..", False),
        ("../model.pt", False),
        ("weights/../../model.pt", False),
        ("weights/..", False),
        ("/etc/passwd", False),
        ("//host/share", False),
        ("a//b", False),
        ("..\\model.pt", False),
        ("\\\\host\\share", False),
        ("C:\\model.pt", False),
        ("C:model.pt", False),
        ("model.pt\0", False),
    ],
)
def test_names_inside_a_folder(name, inside, tmp_path):
    assert foreign.is_inside(name) is inside
    if inside:
        assert foreign.member(tmp_path, name, tmp_path / "d") == tmp_path / name
        assert foreign.member(tmp_path, name, tmp_path / "d").resolve().is_relative_to(tmp_path)
    else:
        with pytest.raises(DataError, match="which is not in the model's folder"):
            foreign.member(tmp_path, name, tmp_path / "d")


# --- ModelScope


@pytest.fixture
def modelscope(tmp_path):
    """A TDNN as ModelScope publishes it, in a folder beside its checkpoint."""
    torch.manual_seed(0)
    cls = registry.get("model", "xvector")
    torch.save(cls(cls.Config(), feat_dim=80).state_dict(), tmp_path / "elsewhere.bin")
    (tmp_path / "model").mkdir()

    def describe(name):
        section = {"type": "tdnn-sv", "model_config": {"sample_rate": 16000}, "pretrained_model": name}
        text = json.dumps({"framework": "pytorch", "model": section})
        (tmp_path / "model" / "configuration.json").write_text(text)
        return tmp_path / "model"

    return describe


@pytest.mark.parametrize("name", ["../elsewhere.bin", "{}/elsewhere.bin", "sub/../../elsewhere.bin"])
def test_a_checkpoint_outside_is_not_opened(modelscope, name, tmp_path, monkeypatch):
    path = modelscope(name.format(tmp_path))
    (path / "sub").mkdir()
    monkeypatch.setattr(torch, "load", None)  # calling it would be a TypeError
    with pytest.raises(DataError) as caught:
        load_model(path)
    name = name.format(tmp_path)
    where = f"{path}/configuration.json: names {name!r}, which is not in the model's folder"
    assert str(caught.value) == where
    assert not modelscope_dir.is_complete(path)


def test_links_as_in_a_hubs_cache_are_followed(modelscope, tmp_path):
    path = modelscope("weights/tdnn.bin")
    (path / "weights").mkdir()
    assert not modelscope_dir.is_complete(path)
    (path / "weights/tdnn.bin").symlink_to(tmp_path / "elsewhere.bin")
    assert modelscope_dir.is_complete(path)
    expected = torch.load(tmp_path / "elsewhere.bin", weights_only=True)
    found = load_model(path).model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


# --- our bundles


@pytest.fixture
def with_config(tmp_path):
    """A bundle whose config.yaml has ``text`` at its end, with the right hash."""

    def make(text):
        settings = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
        path = tmp_path / "m"
        bundle.save(path, settings.model.build(feat_dim=80), settings, 80, {})
        (path / bundle.CONFIG).write_text(text or (path / bundle.CONFIG).read_text())
        card = json.loads((path / bundle.CARD).read_text())
        card["sha256"][bundle.CONFIG] = bundle.sha256(path / bundle.CONFIG)
        (path / bundle.CARD).write_text(json.dumps(card))
        return path

    return make


def test_a_bundle_has_no_base(with_config, tmp_path):
    (tmp_path / "secret").write_text("password: swordfish\n")
    path = with_config(f"base: {tmp_path}/secret\nmodel: {{name: tdnn}}\n")
    with pytest.raises(ConfigError) as caught:
        bundle.load(path)
    assert str(caught.value) == (
        f"{path}/config.yaml: base: the settings of a model stand in its own folder; remove this key"
    )
    assert "embed_dim" in config_io.dump(bundle.load(with_config("")).config)


def test_a_bundle_names_no_encoder_of_its_own(with_config, tmp_path):
    (tmp_path / "encoder").mkdir()
    path = with_config(f"frontend: {{name: waveform}}\nmodel: {{name: ssl, encoder: {tmp_path}/encoder}}\n")
    with pytest.raises(ConfigError) as caught:
        bundle.load(path)
    assert str(caught.value) == (
        f"{path}/config.yaml: model.encoder: a model brings its own files; '{tmp_path}/encoder' is not read"
    )
    settings = config_io.load(bundle.EmbedderConfig, path / "config.yaml")  # for training it is a setting
    assert settings.model.config.encoder == f"{tmp_path}/encoder"


# --- other containers


class Group(dict):
    """What h5py's groups do here: attributes, the file they are in, and paths with slashes."""

    def __init__(self, attrs, file, **children):
        super().__init__(children)
        self.attrs, self.file = attrs, file


def test_hdf5_weights_in_another_file_are_not_read(tmp_path):
    def layers(file):
        layer = Group({"weight_names": ["kernel:0"]}, file, **{"kernel:0": np.ones(2)})
        return keras_h5.layers_of(Group({"layer_names": ["fc"]}, "a.h5", fc=layer), tmp_path)

    with pytest.raises(DataError, match="'fc' is kept in another file, which is not read"):
        layers("other.h5")


def with_outside_weights(path, location, place):
    """A sealed ONNX file, one of whose constants is in the file ``location``."""
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(location))
    constants = [tensor] if place == "initializer" else []
    nodes = [onnx.helper.make_node("Add", ["feature", "w"], ["embedding"])]
    if place == "constant":
        nodes.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    ends = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in ("feature", "embedding")]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {"content_hash": "0", onnx_file._SEAL: onnx_file._BLANK})
    data = model.SerializeToString()
    start, end = onnx_file._place(data)
    path.write_bytes(data[:start] + onnx_file._digest(data) + data[end:])


@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_onnx_weights_in_another_file_are_not_read(tmp_path, place):
    np.arange(4, dtype=np.float32).tofile(tmp_path / "secret.bin")
    for location in (tmp_path / "secret.bin", "../secret.bin", "secret.bin"):
        with_outside_weights(tmp_path / "m.onnx", location, place)
        with pytest.raises(DataError, match="keeps weights in another file, which is not read"):
            graphs.given(None, tmp_path / "m.onnx")
        with pytest.raises(DataError, match="cannot be run"):
            WaveformGraph.load(tmp_path / "m.onnx")
