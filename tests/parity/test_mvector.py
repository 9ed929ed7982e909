"""mvector's networks in a bundle of ours; it has no directory format of its own that is read."""

import peers
import pytest

from speakerlab import config as config_io
from speakerlab.hub import bundle
from speakerlab.hub.load import load_model

# our model with settings -> module and class of the peer, with arguments
CASES = {
    "campplus": ({"embed_dim": 192}, "campplus", "CAMPPlus", {"embd_dim": 192}),
    "eres2net": ({}, "eres2net", "ERes2Net", {}),
    "eres2netv2": ({"m_channels": 32}, "eres2net", "ERes2NetV2", {}),
    "ecapa_tdnn": ({"channels": [512, 512, 512, 512, 1536]}, "ecapa_tdnn", "EcapaTdnn", {}),
    "resnet_se": ({}, "resnet_se", "ResNetSE", {}),
    "mvector_tdnn": ({}, "tdnn", "TDNN", {}),
    "mvector_res2net": ({}, "res2net", "Res2Net", {}),
}
POOLINGS = {"asp": "ASP", "sap": "SAP", "tap": "TAP", "tsp": "TSP"}


@pytest.mark.parametrize("pooling", ["sap", "tap", "tsp"])
@pytest.mark.parametrize("name", ["mvector_tdnn", "mvector_res2net"])
def test_network_with_another_pooling(tmp_path, name, pooling):
    _, file, cls, _ = CASES[name]
    check(tmp_path, name, ({"pooling": pooling}, file, cls, {"pooling_type": POOLINGS[pooling]}))


@pytest.mark.parametrize("name", CASES)
def test_network(tmp_path, name):
    check(tmp_path, name, CASES[name])


def check(tmp_path, name, case):
    settings, file, cls, arguments = case
    make = getattr(peers.module(f"mvector.models.{file}"), cls)
    network = peers.build(lambda: make(input_size=80, **arguments))
    config = config_io.from_mapping(bundle.EmbedderConfig, {"model": {"name": name, **settings}}, "test")
    ours = config.model.build(feat_dim=80)
    bundle.load_strict(ours, network.state_dict(), tmp_path)
    bundle.save(tmp_path / "model", ours, config, 80, {})
    peers.check_features(network, load_model(tmp_path / "model"))
