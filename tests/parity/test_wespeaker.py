"""WeSpeaker directories: every network that is read, its features, its names of poolings."""

import peers
import pytest
import torch
import yaml

from speakerlab.hub.load import load_model
from speakerlab.torchaudio_import import kaldi

# network -> module, arguments
CASES = {
    "ResNet18": ("resnet", {"feat_dim": 80, "embed_dim": 256, "pooling_func": "TSTP"}),
    "ResNet34": (
        "resnet",
        {"feat_dim": 80, "embed_dim": 256, "pooling_func": "TSTP", "two_emb_layer": False},
    ),
    "ResNet34-two": ("resnet", {"feat_dim": 80, "embed_dim": 64, "two_emb_layer": True}),
    "ResNet34-ASTP": ("resnet", {"feat_dim": 80, "embed_dim": 64, "pooling_func": "ASTP"}),
    "ResNet34-MHASTP": ("resnet", {"feat_dim": 80, "embed_dim": 64, "pooling_func": "MHASTP"}),
    "ResNet34-MQMHASTP": ("resnet", {"feat_dim": 80, "embed_dim": 64, "pooling_func": "MQMHASTP"}),
    "ResNet18-TAP": ("resnet", {"feat_dim": 40, "embed_dim": 64, "pooling_func": "TAP"}),
    "ResNet50": ("resnet", {"feat_dim": 80, "embed_dim": 256}),
    "ResNet101": ("resnet", {"feat_dim": 80, "embed_dim": 256}),
    "CAMPPlus": ("campplus", {"feat_dim": 80, "embed_dim": 512, "pooling_func": "TSTP"}),
    "ECAPA_TDNN_c512": ("ecapa_tdnn", {"feat_dim": 80, "embed_dim": 192, "pooling_func": "ASTP"}),
    "ECAPA_TDNN_c512-norm": ("ecapa_tdnn", {"feat_dim": 80, "embed_dim": 192, "emb_bn": True}),
    "ECAPA_TDNN_GLOB_c512": ("ecapa_tdnn", {"feat_dim": 80, "embed_dim": 192}),
    "ECAPA_TDNN_c1024": ("ecapa_tdnn", {"feat_dim": 80, "embed_dim": 192}),
    "ECAPA_TDNN_GLOB_c1024": ("ecapa_tdnn", {"feat_dim": 80, "embed_dim": 192}),
    "ERes2Net34_Base": ("eres2net", {"feat_dim": 80, "embed_dim": 512, "two_emb_layer": False}),
    "ERes2Net34_Large": ("eres2net", {"feat_dim": 80, "embed_dim": 512}),
    "ERes2Net34_aug": ("eres2net", {"feat_dim": 80, "embed_dim": 192}),
    "Res2Net34_Base": ("res2net", {"feat_dim": 80, "embed_dim": 192, "pooling_func": "TSTP"}),
    "Res2Net34_Large": ("res2net", {"feat_dim": 80, "embed_dim": 192}),
    "ReDimNetB0": ("redimnet", {"feat_dim": 60, "embed_dim": 192}),
    "ReDimNetB1": ("redimnet", {"feat_dim": 72, "embed_dim": 192}),
    "ReDimNetB2": ("redimnet", {"feat_dim": 72, "embed_dim": 192, "pooling_func": "ASTP"}),
    "ReDimNetB3": ("redimnet", {"feat_dim": 72, "embed_dim": 192, "two_emb_layer": False}),
    "ReDimNetB4": ("redimnet", {"feat_dim": 72, "embed_dim": 192}),
    "ReDimNetB5": ("redimnet", {"feat_dim": 72, "embed_dim": 192}),
    "ReDimNetB6": ("redimnet", {"feat_dim": 72, "embed_dim": 192}),
    "SimAM_ResNet34_ASP": (
        "samresnet",
        {"in_planes": 64, "embed_dim": 256, "acoustic_dim": 80, "dropout": 0},
    ),
    "SimAM_ResNet100_ASP": ("samresnet", {"in_planes": 64, "embed_dim": 256}),
}


def write(path, model, model_args, network, prefix="", **dataset_args):
    """The official layout, with the classifier that training leaves in the checkpoint."""
    num_mels = model_args.get("feat_dim", model_args.get("acoustic_dim", 80))
    config = {
        "model": model,
        "model_args": model_args,
        "dataset_args": {
            "fbank_args": {"num_mel_bins": num_mels, "frame_shift": 10, "frame_length": 25, "dither": 1.0},
            **dataset_args,
        },
        "projection_args": {"project_type": "arc_margin", "embed_dim": 256, "num_class": 17982},
    }
    (path / "config.yaml").write_text(yaml.dump(config))
    state = {prefix + key: value for key, value in network.state_dict().items()}
    state[prefix + "projection.weight"] = torch.zeros(30, 256)
    torch.save(state, path / "avg_model.pt")


class Transposed(torch.nn.Module):
    """A network that takes [B, F, T], on [B, T, F]."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, feats):
        return self.network(feats.transpose(1, 2))


def embed(network, feats):
    """Its embedding: of several outputs the last one."""
    out = network(feats)
    return out[-1] if isinstance(out, tuple) else out


def fbank(samples, num_mels):
    """The features of WeSpeaker's extraction: 16-bit scale, Hamming window, mean removed."""
    feats = kaldi.fbank(
        samples * 32768,
        num_mel_bins=num_mels,
        frame_length=25,
        frame_shift=10,
        sample_frequency=16000,
        window_type="hamming",
    )
    return (feats - feats.mean(dim=0))[None]


@pytest.mark.parametrize("case", CASES)
def test_from_waveform_to_embedding(tmp_path, case):
    module, arguments = CASES[case]
    name = case.split("-")[0]
    cls = getattr(peers.module(f"wespeaker.models.{module}"), name)
    num_mels = arguments.get("feat_dim", 80)
    network = peers.build(lambda: cls(**arguments), num_mels)
    write(tmp_path, name, arguments, network)
    peers.check_waveforms(lambda samples: embed(network, fbank(samples, num_mels)), load_model(tmp_path))


@pytest.mark.parametrize("name", ["ResNet152", "ResNet221", "ResNet293"])
def test_very_deep_networks(tmp_path, name):
    """In double precision: random weights in 50 to 97 blocks enlarge what single precision rounds off."""
    arguments = {"feat_dim": 80, "embed_dim": 256}
    cls = getattr(peers.module("wespeaker.models.resnet"), name)
    network = peers.build(lambda: cls(**arguments))
    write(tmp_path, name, arguments, network)
    peers.check_features(lambda feats: embed(network.double(), feats), load_model(tmp_path), torch.float64)


@pytest.mark.parametrize("arguments", [{}, {"hid_dim": 64, "stats_dim": 96, "embed_dim": 32}])
def test_xvec(tmp_path, arguments):
    """On features that leave no channel constant, where TSTP's 1e-7 and our 1e-8 would show."""
    arguments = {"feat_dim": 80, "pooling_func": "TSTP", **arguments}
    network = peers.build(lambda: peers.module("wespeaker.models.tdnn").XVEC(**arguments))
    write(tmp_path, "XVEC", arguments, network)
    peers.check_features(lambda feats: embed(network, feats), load_model(tmp_path))


def test_names_of_several_gpus(tmp_path, caplog):
    cls = peers.module("wespeaker.models.resnet").ResNet18
    network = peers.build(lambda: cls(80, 32))
    write(tmp_path, "ResNet18", {"feat_dim": 80, "embed_dim": 32}, network, prefix="module.")
    with caplog.at_level("INFO"):
        loaded = load_model(tmp_path)
    assert "projection.* set aside: 1 tensors" in caplog.text
    peers.check_features(lambda feats: embed(network, feats), loaded)


REDIMNET2 = {
    **{f"ReDimNet2B{size}": {} for size in range(7)},
    "ReDimNet2B1-image": {"return_2d_output": True},
    "ReDimNet2B4-image": {"return_2d_output": True},
}


@pytest.mark.parametrize("case", REDIMNET2)
def test_redimnet2_behind_its_own_front_end(tmp_path, case):
    """Its mel spectrogram is a module of the network, whose fixed filters are in the checkpoint."""
    settings = {"n_mels": 72, "hop_length": 160, "win_length": 400, "n_fft": 512, "f_min": 20, "f_max": 7600}
    settings |= {"do_preemph": True, "norm_signal": True, "do_spec_aug": False, "eps": 1e-8}
    frontend = peers.module("wespeaker.frontend.tfmel").TFMelFrontend(**settings, sample_rate=16000)
    arguments = {"feat_dim": 72, "embed_dim": 192, "pooling_func": "ASTP", **REDIMNET2[case]}
    name = case.split("-")[0]
    cls = getattr(peers.module("wespeaker.models.redimnet2"), name)
    network = peers.build(lambda: Transposed(cls(**arguments)), 72).network
    network.add_module("frontend", frontend.eval())
    dataset = {"frontend": "tfmel", "tfmel_args": settings, "resample_rate": 16000, "cmvn": False}
    write(tmp_path, name, arguments, network, **dataset)
    peers.check_waveforms(lambda samples: network(frontend(samples)[0]), load_model(tmp_path))
