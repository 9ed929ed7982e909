"""Foreign model formats: what is read from them, and what is refused with which words."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
import yaml

from speakerlab import registry
from speakerlab.errors import ConfigError, DataError, MissingExtraError
from speakerlab.hub import bundle, foreign, keras_h5, modelscope_dir, self_supervised, three_d_speaker
from speakerlab.hub.load import load_model


def network(name, feat_dim, **settings):
    torch.manual_seed(0)
    cls = registry.get("model", name)
    return cls(cls.Config(**settings), feat_dim=feat_dim).eval()


def same_weights(loaded, state):
    found = loaded.model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def edit(path, change):
    """Change the JSON or YAML in ``path``."""
    text = path.read_text()
    content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    change(content)
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.dump(content))


# --- ModelScope


@pytest.fixture
def modelscope(tmp_path):
    """A TDNN as ModelScope publishes it: folder, state."""
    state = network("xvector", 80).state_dict()
    torch.save(state, tmp_path / "tdnn.bin")
    section = {
        "type": "tdnn-sv",
        "model_config": {"sample_rate": 16000},
        "pretrained_model": "tdnn.bin",
        "yesOrno_thr": 0.31,
    }
    (tmp_path / "configuration.json").write_text(json.dumps({"framework": "pytorch", "model": section}))
    return tmp_path, state


def test_modelscope_weights_front_end_and_threshold(modelscope):
    path, state = modelscope
    loaded = load_model(str(path))
    same_weights(loaded, state)
    front = loaded.config.frontend.config
    assert (front.scale, front.window, front.num_mels, front.dither, front.sample_rate) == (
        1.0, "povey", 80, 0.0, 16000,
    )  # fmt: skip
    assert loaded.config.cmvn.mean
    assert not loaded.config.cmvn.std
    assert loaded.card["threshold"] == 0.31
    assert loaded.card["provenance"] == {"source": str(path), "format": "modelscope"}
    assert not loaded.model.training


def test_identity_is_of_weights_and_settings(modelscope):
    path, _ = modelscope
    before = load_model(path).content_hash
    assert load_model(path).content_hash == before
    edit(path / "configuration.json", lambda c: c["model"]["model_config"].update(sample_rate=8000))
    assert load_model(path).content_hash != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(type="cam-sv"), "model.type 'cam-sv' is not read; did you mean 'cam\\+\\+-sv'"),
        (lambda m: m.update(type="cam++-sv"), "model.model_config has no emb_size"),
        (lambda m: m.pop("pretrained_model"), "'pretrained_model' must be a str, not None"),
        (lambda m: m.update(yesOrno_thr=3), "yesOrno_thr must be a cosine, not 3"),
        (lambda m: m["model_config"].update(sample_rate="16k"), "sample_rate: must be int, not '16k'"),
        (lambda m: m.update(pretrained_model="other.bin"), "other.bin: no such file"),
    ],
)
def test_modelscope_description_that_is_wrong(modelscope, change, said):
    path, _ = modelscope
    edit(path / "configuration.json", lambda c: change(c["model"]))
    with pytest.raises((DataError, ConfigError), match=said):
        load_model(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model": 3}', "\udcff"])
def test_damaged_json(modelscope, text):
    path, _ = modelscope
    (path / "configuration.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"configuration.json: (is damaged|must hold|'model' must be)"):
        load_model(path)


def test_keys_and_shapes_that_do_not_fit_are_listed(modelscope):
    path, state = modelscope
    state["surplus"] = state.pop("seg_1.bias")
    state["frame_1.conv_1d.bias"] = torch.zeros(3)
    torch.save(state, path / "tdnn.bin")
    with pytest.raises(DataError) as error:
        load_model(path)
    for said in (
        "tdnn.bin: does not fit", "1 missing keys: seg_1.bias", "1 unknown keys: surplus",
        "1 other shapes: frame_1.conv_1d.bias",
    ):  # fmt: skip
        assert said in str(error.value)


# --- checkpoints


class Code:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_not_run(tmp_path, zipped):
    made = tmp_path / "made"
    torch.save({"w": Code(made)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"x.pt: is damaged, or holds pickled code, which is never run"):
        foreign.read_checkpoint(tmp_path / "x.pt")
    assert not made.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_checkpoints(tmp_path, zipped):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.randn(50)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for size in (0, 1, 20, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="is damaged"):
            foreign.read_checkpoint(path)
    for garbage in (b"weights", pickle.dumps({"a": 1})[:-3], bytes(100)):
        path.write_bytes(garbage)
        with pytest.raises(DataError, match="is damaged"):
            foreign.read_checkpoint(path)


def test_checkpoints_of_something_else(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "x.pt")
    with pytest.raises(DataError, match="holds a list, not weights by name"):
        foreign.read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(DataError, match="2 entries that are no tensors: epoch, name"):
        foreign.tensors({"epoch": 3, "w": torch.zeros(1), "name": "x"}, tmp_path)
    with pytest.raises(DataError, match=r"none.pt: no such file"):
        foreign.read_checkpoint(tmp_path / "none.pt")


# --- RDINO and SDPN


def test_a_checkpoint_without_teacher(tmp_path):
    origin = foreign.Origin(tmp_path, "modelscope", tmp_path / "c.json", tmp_path / "rdino.pth")
    with pytest.raises(DataError, match=r"rdino.pth: holds no 'teacher'"):
        self_supervised.load(origin, {"student": {}}, 16000, "fbank")


@pytest.mark.parametrize(
    ("frontend", "said", "mean"),
    [("mel_spectrogram", "mel powers as in 3D-Speaker", False), ("fbank", "Kaldi's fbank", True)],
)
def test_the_front_end_of_a_teacher_is_chosen_and_said(tmp_path, caplog, frontend, said, mean):
    state = network("ecapa_tdnn", 80, embed_dim=512).state_dict()
    teacher = {f"module.backbone.{key}": value for key, value in state.items()}
    teacher["module.head.mlp.0.weight"] = torch.zeros(2, 2)
    (tmp_path / "sdpn.pth").write_bytes(b"x")  # only its hash is taken
    origin = foreign.Origin(tmp_path, "modelscope", tmp_path / "c.json", tmp_path / "sdpn.pth")
    with caplog.at_level("INFO"):
        loaded = self_supervised.load(origin, {"teacher": teacher}, 16000, frontend)
    assert said in caplog.text
    assert "head.* set aside: 1 tensors" in caplog.text
    assert loaded.config.frontend.name == frontend
    assert loaded.config.cmvn.mean is mean
    assert loaded.config.model.config.log_instance_norm is not mean
    same_weights(loaded, state)


# --- 3D-Speaker


@pytest.fixture
def experiment(tmp_path):
    """A small x-vector experiment with two checkpoints: folder, state of the newer."""
    config = {
        "fbank_dim": 40,
        "sample_rate": 16000,
        "size": 8,
        "feature_extractor": {
            "obj": "speakerlab.process.processor.FBank",
            "args": {"n_mels": "<fbank_dim>", "sample_rate": "<sample_rate>", "mean_nor": True},
        },
        "embedding_model": {
            "obj": "speakerlab.models.xvector.TDNN.Xvector",
            "args": {"feat_dim": "<fbank_dim>", "hid_dim": "<size>", "stats_dim": 12, "embed_dim": "<size>"},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.dump(config))
    state = network("xvector", 40, hidden_dim=8, stats_dim=12, embed_dim=8).state_dict()
    for name, time, content in (("CKPT-EPOCH-9-00", 10.5, {}), ("CKPT-EPOCH-8-00", 11, state)):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "CKPT.yaml").write_text(yaml.dump({"unixtime": time, "epoch": 9}))
        torch.save(content, folder / "embedding_model.ckpt")
    return tmp_path, state


def test_experiment_the_newest_checkpoint_counts_by_time(experiment):
    path, state = experiment
    loaded = load_model(path)
    same_weights(loaded, state)
    assert loaded.card["feat_dim"] == 40
    assert "threshold" not in loaded.card


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(size="<size>"), "'<size>' refers to itself"),
        (lambda c: c.update(size="<a>", a=["<size>"]), "refers to itself"),
        (lambda c: c.pop("size"), "'<size>' refers to nothing"),
        (lambda c: c["embedding_model"].update(obj="os.system"), "obj 'os.system' is not read"),
        (lambda c: c.pop("embedding_model"), "'embedding_model' must be a node"),
        (lambda c: c["embedding_model"]["args"].update(heads=3), "unknown model settings: heads"),
        (lambda c: c["embedding_model"]["args"].update(pooling_func="SAP"), "pooling 'SAP' is not read"),
        (lambda c: c["embedding_model"]["args"].update(hid_dim="many"), "hidden_dim: must be int"),
        (lambda c: c["feature_extractor"].update(obj="a.Mfcc"), "'a.Mfcc' is not read; valid: FBank"),
        (lambda c: c["feature_extractor"]["args"].update(n_mels=80), "takes 40 features, FBank gives 80"),
    ],
)
def test_experiment_configuration_that_is_wrong(experiment, change, said):
    path, _ = experiment
    edit(path / "config.yaml", change)
    with pytest.raises((DataError, ConfigError), match=said):
        load_model(path)


def test_experiment_without_a_usable_checkpoint(experiment):
    path, _ = experiment
    card = path / "models" / "CKPT-EPOCH-8-00" / "CKPT.yaml"
    card.write_text("epoch: 3")
    with pytest.raises(DataError, match=r"CKPT.yaml: has no unixtime"):
        load_model(path)
    for folder in (path / "models").iterdir():
        (folder / "CKPT.yaml").unlink()
    with pytest.raises(DataError, match="models: no checkpoint"):
        load_model(path)


def test_references_are_data(tmp_path):
    config = {"a": {"obj": "os.system", "args": {"command": "<b>"}}, "b": ["x", "<c>"], "c": "<exp>/models"}
    resolved = three_d_speaker.resolve(config, "<a>", tmp_path)
    assert resolved == {"obj": "os.system", "args": {"command": ["x", "<exp>/models"]}}


# --- FunASR


@pytest.fixture
def funasr(tmp_path):
    sizes = {"num_blocks": (1, 1, 1, 1), "channels": (2, 2, 4, 4), "pooled_dim": 6, "embed_dim": 5}
    state = network("funasr_xvector", 80, **sizes).state_dict()
    torch.save({**state, "decoder.output_dense.weight": torch.zeros(3, 5)}, tmp_path / "sv.pb")
    description = {
        "normalize": None,
        "encoder": "resnet34",
        "encoder_conf": {
            "num_nodes_pooling_layer": 6, "layers_in_block": [1, 1, 1, 1], "filters_in_block": [2, 2, 4, 4],
        },
        "pooling_type": "statistic",
        "decoder": "dense",
        "decoder_conf": {"num_nodes_resnet1": 5},
        "frontend": "wav_frontend",
        "frontend_conf": {"fs": 16000, "window": "povey", "n_mels": 80, "dither": 1.0, "lfr_m": 1},
        "token_list": ["a", "b"],
    }  # fmt: skip
    (tmp_path / "sv.yaml").write_text(yaml.dump(description))
    (tmp_path / "configuration.json").write_text('{"model": {"type": "generic-sv"}}')
    return tmp_path, state


def test_funasr_weights_and_front_end(funasr):
    path, state = funasr
    loaded = load_model(path)
    same_weights(loaded, state)
    front = loaded.config.frontend.config
    assert (front.scale, front.window, front.dither, front.snip_edges) == (32768.0, "povey", 0.0, True)
    assert not loaded.config.cmvn.mean
    edit(path / "sv.yaml", lambda c: c["frontend_conf"].update(upsacle_samples=False, snip_edges=False))
    front = load_model(path).config.frontend.config
    assert (front.scale, front.snip_edges) == (1.0, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["frontend_conf"].update(lfr_m=7), "frontend_conf.lfr_m is 7; only 1 is read"),
        (lambda c: c["frontend_conf"].update(cmvn_file="am.mvn"), "frontend_conf.cmvn_file is 'am.mvn'"),
        (lambda c: c.update(encoder="resnet34_sp_l2reg"), "encoder is 'resnet34_sp_l2reg'; only 'resnet34'"),
        (lambda c: c.pop("pooling_type"), "pooling_type is None; only 'statistic'"),
        (lambda c: c.update(encoder_conf=3), "'encoder_conf' must be a mapping"),
    ],
)
def test_funasr_architecture_that_is_another(funasr, change, said):
    path, _ = funasr
    edit(path / "sv.yaml", change)
    with pytest.raises(DataError, match=said):
        load_model(path)


# --- WeSpeaker


@pytest.fixture
def wespeaker(tmp_path):
    state = network("simam_resnet", 40, m_channels=2, embed_dim=8).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "avg_model.pt")
    config = {
        "model": "SimAM_ResNet34_ASP",
        "model_args": {"in_planes": 2, "embed_dim": 8, "acoustic_dim": 40, "dropout": 0.1},
        "dataset_args": {"fbank_args": {"num_mel_bins": 40, "dither": 1.0}, "resample_rate": 16000},
    }
    (tmp_path / "config.yaml").write_text(yaml.dump(config))
    return tmp_path, state


def test_wespeaker_weights_and_front_end(wespeaker):
    path, state = wespeaker
    loaded = load_model(path)
    same_weights(loaded, state)
    front = loaded.config.frontend.config
    assert (front.scale, front.window, front.num_mels, front.dither) == (32768.0, "hamming", 40, 0.0)
    assert loaded.config.cmvn.mean
    edit(path / "config.yaml", lambda c: c["dataset_args"].update(cmvn=False))
    assert not load_model(path).config.cmvn.mean


def test_a_wespeaker_experiment_as_training_leaves_it(wespeaker, tmp_path):
    """``models/`` beside the description: the description tells, not the names in the folder."""
    path, state = wespeaker
    exp = path / "exp"
    (exp / "models").mkdir(parents=True)
    (path / "config.yaml").rename(exp / "config.yaml")
    (path / "avg_model.pt").rename(exp / "models/avg_model.pt")
    other = {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({**other, "projection.weight": torch.zeros(3, 8)}, exp / "models/model_149.pt")
    for given in (exp, exp / "models", exp / "models/avg_model.pt"):
        same_weights(load_model(given), state)
    assert load_model(exp).card["provenance"]["format"] == "wespeaker"
    same_weights(load_model(exp / "models/model_149.pt"), other)
    (exp / "models/avg_model.pt").unlink()
    for given in (exp, exp / "models"):
        with pytest.raises(
            DataError, match=r"WeSpeaker model \(config\.yaml\) without avg_model\.pt, here or in models"
        ):
            load_model(given)
    (exp / "config.yaml").write_text("model: [")
    with pytest.raises(ConfigError, match=r"config\.yaml: while parsing"):
        load_model(exp)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(model="SimAM_ResNet43_ASP"), "did you mean 'SimAM_ResNet34_ASP'"),
        (lambda c: c.update(model_args=[1]), "'model_args' must be a mapping"),
        (lambda c: c["model_args"].update(depth=1), "unknown model settings: depth"),
        (lambda c: c["model_args"].update(acoustic_dim=80), "takes 80 features, num_mel_bins says otherwise"),
        (lambda c: c["dataset_args"].update(frontend="s3prl"), "'s3prl' is not read; valid: fbank, tfmel"),
        (lambda c: c["dataset_args"].update(cmvn_args={"norm_var": True}), "norm_var is not read"),
        (
            lambda c: c.update(model="CAMPPlus", model_args={"pooling_func": "ASTP"}),
            "model_args.pooling_func: only 'TSTP' is read",
        ),
        (
            lambda c: c.update(model="ResNet34", model_args={"pooling_func": "XI"}),
            "pooling 'XI' is not read",
        ),
    ],
)
def test_wespeaker_configuration_that_is_wrong(wespeaker, change, said):
    path, _ = wespeaker
    edit(path / "config.yaml", change)
    with pytest.raises(DataError, match=said):
        load_model(path)


# --- Keras


class Group(dict):
    """What h5py's groups do here: attributes, and paths with slashes."""

    def __init__(self, attrs, **children):
        super().__init__(children)
        self.attrs = attrs


def test_keras_names_are_read_from_attributes(tmp_path):
    kernel = np.arange(6, dtype=np.float64).reshape(2, 3)
    layer = Group({"weight_names": [b"fc/inner/kernel:0"]}, **{"fc/inner/kernel:0": kernel})
    root = Group({"layer_names": ["input", "fc"]}, input=Group({"weight_names": []}), fc=layer)
    for top in (root, Group({"keras_version": "2"}, model_weights=root)):
        layers = keras_h5.layers_of(top, tmp_path)
        assert list(layers) == ["fc"]
        np.testing.assert_array_equal(layers["fc"]["kernel"], kernel)
        assert layers["fc"]["kernel"].dtype == np.float32
    with pytest.raises(DataError, match="has no attribute 'layer_names'"):
        keras_h5.layers_of(Group({}), tmp_path)
    with pytest.raises(DataError, match="names 'fc' but has no such entry"):
        keras_h5.layers_of(Group({"layer_names": ["fc"]}), tmp_path)


def test_h5_without_h5py_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"h5py is not installed; run: .*requirements/hub\.txt"):
        load_model(tmp_path / "weights.h5")


# --- what it is


def test_our_bundle_is_loaded_as_it_was_saved(modelscope, tmp_path):
    path, state = modelscope
    found = load_model(path)
    bundle.save(tmp_path / "ours", found.model, found.config, 80, found.card["provenance"], 0.31)
    again = load_model(tmp_path / "ours")
    same_weights(again, state)
    assert again.config == found.config
    assert again.card["threshold"] == 0.31


def test_nothing_and_something_else(tmp_path):
    with pytest.raises(DataError, match="is not a bundle .* ModelScope .* WeSpeaker"):
        load_model(tmp_path)
    with pytest.raises(DataError, match="no such file or folder; .* iic/NAME of ModelScope"):
        load_model(tmp_path / "nothing" / "here")


def test_a_description_of_another_shape_is_no_complete_model(tmp_path):
    (tmp_path / "configuration.json").write_text('{"model": "Paraformer"}')
    assert not modelscope_dir.is_complete(tmp_path)
    with pytest.raises(DataError, match=r"configuration\.json"):
        load_model(tmp_path)
