"""FunASR's x-vector directory: its encoder, pooling and decoder on its features without dither."""

import peers
import pytest
import torch
import yaml

from speakerlab.hub.load import load_model
from speakerlab.torchaudio_import import kaldi

DESCRIPTION = {
    "input_size": None,
    "specaug": None,
    "normalize": None,
    "model": "espnet",
    "model_conf": {},
    "encoder": "resnet34",
    "encoder_conf": {
        "use_head_conv": True,
        "batchnorm_momentum": 0.5,
        "use_head_maxpool": False,
        "num_nodes_pooling_layer": 256,
        "layers_in_block": [3, 4, 6, 3],
        "filters_in_block": [32, 64, 128, 256],
    },
    "pooling_type": "statistic",
    "decoder": "dense",
    "decoder_conf": {"num_nodes_resnet1": 256, "num_nodes_last_layer": 256, "batchnorm_momentum": 0.5},
    "frontend": "wav_frontend",
    "frontend_conf": {
        "fs": 16000,
        "window": "povey",
        "n_mels": 80,
        "frame_length": 25,
        "frame_shift": 10,
        "filter_length_min": -1,
        "filter_length_max": -1,
        "lfr_m": 1,
        "lfr_n": 1,
    },
    "token_list": ["R0001_M0001_S0001", "id00001"],
}


class Peer(torch.nn.Module):
    """The parts that FunASR puts together for the embedding."""

    def __init__(self):
        super().__init__()
        self.encoder = peers.module("funasr.models.encoder.resnet34_encoder").ResNet34(80)
        self.decoder = peers.module("funasr.models.decoder.sv_decoder").DenseDecoder(2, 512)
        self.pool = peers.module("funasr.models.pooling.statistic_pooling").statistic_pooling

    def forward(self, feats):
        encoded, _ = self.encoder(feats, torch.full((len(feats),), feats.shape[1]))
        _, embeddings = self.decoder(self.pool(encoded, None, (2, 3)))
        return embeddings["resnet1_dense"]


def fbank(samples):
    """The features of FunASR's WavFrontend, dither aside."""
    return kaldi.fbank(
        samples * 32768, num_mel_bins=80, energy_floor=0.0, window_type="povey", sample_frequency=16000
    )[None]


@pytest.mark.parametrize("zipped", [True, False])
def test_from_waveform_to_embedding(tmp_path, caplog, zipped):
    peer = peers.build(Peer)
    (tmp_path / "sv.yaml").write_text(yaml.dump(DESCRIPTION))
    torch.save(peer.state_dict(), tmp_path / "sv.pb", _use_new_zipfile_serialization=zipped)
    with caplog.at_level("INFO"):
        loaded = load_model(tmp_path)
    assert "decoder.output_dense.* set aside: 1 tensors" in caplog.text
    peers.check_waveforms(lambda samples: peer(fbank(samples)), loaded)
