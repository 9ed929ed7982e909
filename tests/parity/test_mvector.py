"""mvector's networks that have our parameters' names and shapes, in a bundle of ours.

Its TDNN and Res2Net are other architectures than ours; it has no directory format of its own that is read.
"""

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
}


@pytest.mark.parametrize("name", CASES)
def test_network(tmp_path, name):
    settings, file, cls, arguments = CASES[name]
    make = getattr(peers.module(f"mvector.models.{file}"), cls)
    network = peers.build(lambda: make(input_size=80, **arguments))
    config = config_io.from_mapping(bundle.EmbedderConfig, {"model": {"name": name, **settings}}, "test")
    ours = config.model.build(feat_dim=80)
    bundle.load_strict(ours, network.state_dict(), tmp_path)
    bundle.save(tmp_path / "model", ours, config, 80, {})
    peers.check_features(network, load_model(tmp_path / "model"))
