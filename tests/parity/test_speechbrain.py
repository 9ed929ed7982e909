"""SpeechBrain's ECAPA-TDNN: its weights in a 3D-Speaker experiment, which names them alike."""

import peers
import pytest
from test_three_d_speaker import write

from speakerlab.hub.load import load_model

WIDTHS = {"c1024": [1024, 1024, 1024, 1024, 3072], "c512": [512, 512, 512, 512, 1536]}


@pytest.mark.parametrize("size", WIDTHS)
def test_ecapa_tdnn(tmp_path, size):
    cls = peers.module("speechbrain.lobes.models.ECAPA_TDNN").ECAPA_TDNN
    network = peers.build(lambda: cls(80, lin_neurons=192, channels=WIDTHS[size]))
    arguments = {"input_size": "<fbank_dim>", "lin_neurons": 192, "channels": WIDTHS[size]}
    write(tmp_path, "ecapa_tdnn.ECAPA_TDNN.ECAPA_TDNN", arguments, {1.0: network.state_dict()})
    peers.check_features(network, load_model(tmp_path))
