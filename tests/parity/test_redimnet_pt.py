"""Files of ReDimNet's authors, with their front ends, written from WeSpeaker's copies of both."""

import peers
import pytest
import torch

from speakerlab.hub.load import load_model

BLOCKS = {"block_1d_type": "conv+att", "block_2d_type": "basic_resnet"}
HEAD = {"pooling_func": "ASTP", "global_context_att": True}
# The first code published: fusions apart; the later one: at the start of their stages.
LAYOUTS = ["first", "later"]
REDIMNET = {
    "b0": {
        **BLOCKS,
        "F": 60,
        "C": 10,
        "stages_setup": [
            (1, 2, 1, [(3, 3)], 30),
            (2, 3, 2, [(3, 3)], 30),
            (1, 3, 3, [(3, 3)], 30),
            (2, 4, 2, [(3, 3)], 10),
            (1, 3, 1, [(3, 3)], 10),
        ],
        "group_divisor": 1,
    },
    "no-context": {
        **BLOCKS,
        "F": 72,
        "C": 8,
        "block_2d_type": "convnext_like",
        "stages_setup": [(1, 1, 1, [(3, 3)], None), (3, 2, 1, [(3, 3)], 12), (2, 1, 1, [(3, 3)], 8)],
        "group_divisor": 4,
    },
    "row-weights": {
        **BLOCKS,
        "F": 72,
        "C": 8,
        "block_2d_type": "basic_resnet_fwse",
        "stages_setup": [(1, 1, 2, [(3, 3)], 12), (2, 1, 1, [(3, 3)], 8)],
        "group_divisor": 2,
    },
}
SMALL_STAGES = [[[1, 1], 2, 2, [[3, 3]], 36], [[2, 2], 1, 1, [[3, 3]], 36], [[2, 2], 1, 0.5, [[3, 3]], 18]]
REDIMNET2 = {
    "b0": {"C": 12, "out_channels": 64, "stages_setup": SMALL_STAGES, "agg_gnorm": True},
    "b3": {"C": 24, "agg_gnorm": False},  # its recipe leaves the stages to the constructor
    "sequence": {"C": 12, "out_channels": 40, "stages_setup": SMALL_STAGES, "return_2d_output": False},
}


def redimnet2():
    """The module with ReDimNet2 and both front ends, of which it imports one."""
    peers.module("wespeaker.frontend.tfmel")
    return peers.module("wespeaker.models.redimnet2")


class Authors(torch.nn.Module):
    """The first network of the authors around WeSpeaker's backbone, which is theirs: [B, S] to [B, 192]."""

    def __init__(self, config, spec):
        super().__init__()
        arguments = {key: value for key, value in config.items() if key not in ("F", *HEAD)}
        network = peers.module("wespeaker.models.redimnet").ReDimNet(feat_dim=config["F"], **arguments)
        self.backbone, self.pool, self.linear = network.backbone, network.pool, network.seg_1
        self.bn = torch.nn.BatchNorm1d(network.pool_out_dim)
        self.spec = spec

    def forward(self, feats):
        """Embeddings of features [B, T, F]."""
        return self.linear(self.bn(self.pool(self.backbone(feats.transpose(1, 2).unsqueeze(1)))))


class Features(torch.nn.Module):
    """A whole network of theirs on features [B, T, F]."""

    def __init__(self, network):
        super().__init__()
        self.network, self.spec = network, network.spec
        network.spec = None

    def forward(self, feats):
        return self.network(feats.transpose(1, 2))


def rename(key, config):
    """A name of the first layout in the later one."""
    parts = key.split(".")
    if parts[:2] == ["backbone", "inputs_weights"]:
        last = int(parts[2]) == len(config["stages_setup"])
        return "backbone.fin_wght1d.w" if last else f"backbone.stage{parts[2]}.0.w"
    if parts[1].startswith("stage"):
        parts[2] = str(int(parts[2]) + 2)  # behind the fusion and the reshaping
    return ".".join(parts)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", REDIMNET)
def test_redimnet(tmp_path, case, layout):
    config = {**REDIMNET[case], "embed_dim": 192, "out_channels": None}
    spec_params = {"do_spec_aug": False, "norm_signal": case != "b0", "freq_mask_width": (0, 6)}
    mel = redimnet2().MelBanks(n_mels=config["F"], hop_length=240, **spec_params)
    network = peers.build(lambda: Authors({**config, **HEAD}, mel), config["F"])
    state = network.state_dict()
    if layout == "later":
        state = {rename(key, config): value for key, value in state.items()}
    state["cls_head.2.weight"] = torch.zeros(5, 192)
    config |= {**HEAD, "hop_length": 240, "spec_params": spec_params, "num_classes": 5}
    torch.save({"model_config": config, "state_dict": state}, tmp_path / "x.pt")
    peers.check_waveforms(lambda x: network(network.spec(x).transpose(1, 2)), load_model(tmp_path / "x.pt"))


@pytest.mark.parametrize("case", REDIMNET2)
def test_redimnet2(tmp_path, case):
    spec_params = {"do_preemph": True, "do_spec_aug": False, "norm_signal": True}
    config = {
        **BLOCKS,
        **HEAD,
        "F": 72,
        "causal": "none",
        "return_2d_output": True,
        "spec_params": spec_params,
    }
    config |= {"compress_tconvs": True, "emb_bn": False, "fm_weigthing_type": "NC", **REDIMNET2[case]}
    cls = redimnet2().ReDimNet2Wrap
    network = peers.build(lambda: Features(cls(spec="tf", **config)), 72)
    state = network.network.state_dict() | network.spec.state_dict(prefix="spec.")
    torch.save({"model_config": {**config, "feat_type": "tf"}, "state_dict": state}, tmp_path / "x.pt")
    peers.check_waveforms(lambda x: network(network.spec(x).transpose(1, 2)), load_model(tmp_path / "x.pt"))
