"""Files of ReDimNet's authors: arguments as settings, the two layouts of weights, what is refused."""

import re

import pytest
import torch

from speakerlab.errors import ConfigError, DataError
from speakerlab.hub.load import load_model
from speakerlab.nn.models.redimnet import ReDimNet, ReDimNetConfig
from speakerlab.nn.models.redimnet2 import ReDimNet2, ReDimNet2Config

OURS = ReDimNetConfig(6, 4, (1, 2), (1, 1), (1, 2), (0, 4), "resnet_se", 2)
CONFIG = {
    "F": 8,
    "C": 4,
    "block_1d_type": "conv+att",
    "block_2d_type": "basic_resnet_fwse",
    "stages_setup": [(1, 1, 1, [(3, 3)], None), (2, 1, 2, [(3, 3)], 4)],
    "group_divisor": 2,
    "embed_dim": 6,
    "out_channels": None,
    "hop_length": 240,
    "global_context_att": True,
    "feat_agg_dropout": 0.1,
    "spec_params": {"do_spec_aug": False, "norm_signal": True, "f_max": 7000},
}
OURS2 = ReDimNet2Config(6, 2, (1, 2), (2, 1), (1, 1), (2, 1), (2, 4), 3, map_norm=True)
CONFIG2 = {
    "F": 8,
    "C": 2,
    "causal": "none",
    "stages_setup": [[[1, 2], 1, 2, [[3, 3]], 2], [[2, 1], 1, 1, [[3, 3]], 4]],
    "embed_dim": 6,
    "out_channels": 3,
    "return_2d_output": True,
    "agg_gnorm": True,
    "feat_type": "tf",
}


def weights(cls, config):
    torch.manual_seed(0)
    return cls(config, feat_dim=8).state_dict()


def write(path, config, state):
    spec = {"spec.torchfbank.2.window": torch.zeros(3)}
    torch.save({"model_config": config, "state_dict": {**state, **spec}}, path)
    return path


def first_layout(state):
    """Names as in the first code published: fusions apart, stages without the two steps in front."""
    names = {"backbone.fin_wght1d.w": "backbone.inputs_weights.2"}
    names |= {f"backbone.stage{i}.0.w": f"backbone.inputs_weights.{i}" for i in range(2)}
    step = re.compile(r"^(backbone\.stage\d\.)(\d)")
    return {
        names.get(key) or step.sub(lambda m: f"{m[1]}{int(m[2]) - 2}", key): value
        for key, value in state.items()
    }


@pytest.mark.parametrize("layout", [dict, first_layout])
def test_redimnet(tmp_path, caplog, layout):
    state = weights(ReDimNet, OURS)
    with caplog.at_level("INFO"):
        loaded = load_model(write(tmp_path / "b9.pt", CONFIG, layout(state)))
    assert "spec.* set aside: 1 tensors of the front end" in caplog.text
    assert loaded.config.model.config == OURS
    found = loaded.model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    front = loaded.config.frontend
    assert front.name == "mel_spectrogram"
    assert (front.config.num_mels, front.config.frame_shift_ms, front.config.high_hz) == (8, 15.0, 7000)
    assert (front.config.window, front.config.normalise, front.config.preemphasis) == ("hamming", True, 0.97)
    assert loaded.config.cmvn.mean
    assert loaded.card["provenance"] == {"source": str(tmp_path / "b9.pt"), "format": "redimnet"}


def test_redimnet2(tmp_path):
    loaded = load_model(write(tmp_path / "b9.pt", CONFIG2, weights(ReDimNet2, OURS2)))
    assert loaded.config.model.config == OURS2
    front = loaded.config.frontend
    assert (front.name, front.config.num_mels, front.config.normalise) == ("tf_mel", 8, True)


def test_stages_that_redimnet2_leaves_out_are_those_of_b3(tmp_path):
    config = {"causal": "none", "return_2d_output": True, "feat_type": "tf"}
    state = ReDimNet2(ReDimNet2.VARIANTS["b3"], feat_dim=72).state_dict()
    assert (
        load_model(write(tmp_path / "b3.pt", config, state)).config.model.config == ReDimNet2.VARIANTS["b3"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"block_1d_type": "att"}, "block_1d_type: only 'conv[+]att' is read, not 'att'"),
        ({"pooling_func": "TSTP"}, "pooling_func: only 'ASTP' is read"),
        ({"global_context_att": False}, "global_context_att: only True is read"),
        ({"emb_bn": True}, "emb_bn: only False is read"),
        ({"out_channels": 512}, "out_channels: only None is read"),
        ({"block_2d_type": "convnext_like_relu"}, "block_2d_type 'convnext_like_relu' is not read"),
        ({"feat_type": "tf_spec"}, "feat_type 'tf_spec' is not read; valid: pt"),
        ({"spec_params": {"spec_norm": "mvn"}}, "spec_norm 'mvn' is not read"),
        ({"spec_params": {"eps": 1e-5}}, "eps: only 1e-08 is read"),
        ({"spec_params": 3}, "spec_params must be a mapping"),
        ({"stages_setup": [(1, 2, 3)]}, "stages_setup must be rows of five"),
        ({"heads": 3}, "model_config has unknown heads"),
        ({"embed_dim": 0}, "embed_dim: must be at least 1"),
        ({"C": "four"}, "channels: must be int"),
    ],
)
def test_redimnet_that_is_not_read(tmp_path, change, said):
    path = write(tmp_path / "x.pt", {**CONFIG, **change}, {})
    with pytest.raises((DataError, ConfigError), match=said):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"causal": "full"}, "causal: only 'none' is read"),
        ({"dual_agg": True}, "dual_agg: only False is read"),
        ({"block_2d_type": "basic_resnet_fwse"}, "block_2d_type: only 'basic_resnet' is read"),
        ({"stages_setup": [(1, 1, 1, [(3, 3)], 2)]}, "stages_setup: strides must be pairs"),
        ({"stages_setup": [((1, 1), 1, 1, [(3, 3)], None)]}, "reductions: must be positive"),
        ({"agg_gnorm": 1}, "map_norm: must be bool"),
    ],
)
def test_redimnet2_that_is_not_read(tmp_path, change, said):
    path = write(tmp_path / "x.pt", {**CONFIG2, **change}, {})
    with pytest.raises((DataError, ConfigError), match=said):
        load_model(path)


@pytest.mark.parametrize("name", ["stages_setup", "block_1d_type", "block_2d_type", "global_context_att"])
def test_arguments_whose_defaults_vary_must_be_there(tmp_path, name):
    config = {key: value for key, value in CONFIG.items() if key != name}
    with pytest.raises(DataError, match=f"model_config has no {name}"):
        load_model(write(tmp_path / "x.pt", config, {}))


def test_other_files_and_other_weights(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(DataError, match=r"x.pt: is not a ReDimNet: it has no model_config and state_dict"):
        load_model(path)
    write(path, CONFIG, {"backbone.stem.0.weight": torch.zeros(3)})
    with pytest.raises(DataError, match=r"x.pt: does not fit"):
        load_model(path)
    path.write_bytes(b"weights")
    with pytest.raises(DataError, match="is damaged"):
        load_model(path)
