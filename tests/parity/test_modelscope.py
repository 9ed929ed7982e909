"""Every class of ModelScope's speaker-verification package, from waveform to embedding."""

import json

import peers
import pytest
import torch

from speakerlab.hub.load import load_model

PACKAGE = "modelscope.models.audio.sv"
WIDE = [1024, 1024, 1024, 1024, 3072]
# model.type -> module, pipeline class, network class with arguments, model_config
CASES = {
    "cam++-sv-192": ("DTDNN", "CAMPPlus", "CAMPPlus", (80, 192), {"fbank_dim": 80, "emb_size": 192}),
    "cam++-sv-512": ("DTDNN", "CAMPPlus", "CAMPPlus", (80, 512), {"fbank_dim": 80, "emb_size": 512}),
    "eres2net-sv-base": (
        "ERes2Net", "ERes2Net", "ERes2Net", {"m_channels": 32, "embed_dim": 192},
        {"embed_dim": 192, "channels": 32},
    ),
    "eres2net-sv-large": (
        "ERes2Net", "ERes2Net", "ERes2Net", {"m_channels": 64, "embed_dim": 512},
        {"embed_dim": 512, "channels": 64},
    ),
    "eres2net-aug-sv": ("ERes2Net_aug", "ERes2Net", "ERes2Net_aug", (), {}),
    "eres2netv2-sv-w26s2ep2": (
        "ERes2NetV2", "ERes2NetV2", "ERes2NetV2",
        {"embed_dim": 192, "baseWidth": 26, "scale": 2, "expansion": 2},
        {"embed_dim": 192, "baseWidth": 26, "scale": 2, "expansion": 2},
    ),
    "eres2netv2-sv-w24s4ep4": (
        "ERes2NetV2", "ERes2NetV2", "ERes2NetV2",
        {"embed_dim": 192, "baseWidth": 24, "scale": 4, "expansion": 4},
        {"embed_dim": 192, "baseWidth": 24, "scale": 4, "expansion": 4},
    ),
    "ecapa-tdnn-sv": ("ecapa_tdnn", "ECAPATDNN", "ECAPA_TDNN", (80, "cpu", 192, torch.nn.ReLU, WIDE),
                      {"channel": 1024}),
    "res2net-sv": (
        "Res2Net", "ResNet", "Res2Net", {"m_channels": 32, "embedding_size": 192},
        {"embed_dim": 192, "channels": 32},
    ),
    "resnet-sv": (
        "ResNet", "ResNet", "ResNet", {"m_channels": 32, "embedding_size": 192},
        {"embed_dim": 192, "channels": 32},
    ),
    "tdnn-sv": ("xvector", "TDNN", "XVEC", {"feat_dim": 80, "embed_dim": 512}, {}),
}  # fmt: skip


def write(path, kind, model_config, state):
    """The official layout; the whole model section, as the pipeline classes take it."""
    section = {
        "type": kind,
        "model_config": {"sample_rate": peers.RATE, **model_config},
        "pretrained_model": "model.ckpt",
        "yesOrno_thr": 0.36,
    }
    torch.save(state, path / "model.ckpt")
    content = {"framework": "pytorch", "task": "speaker-verification", "model": section}
    (path / "configuration.json").write_text(json.dumps(content))
    return section


def pipeline_model(module, name, path, section):
    cls = getattr(module, f"SpeakerVerification{name}")
    rest = {k: v for k, v in section.items() if k not in ("type", "model_config")}
    return cls(str(path), section["model_config"], device="cpu", **rest).eval()


@pytest.mark.parametrize("case", CASES)
def test_from_waveform_to_embedding(tmp_path, case):
    file, pipeline, network, arguments, model_config = CASES[case]
    module = peers.modelscope(file)
    cls = getattr(module, network)
    make = (lambda: cls(**arguments)) if isinstance(arguments, dict) else (lambda: cls(*arguments))
    kind = case[: case.index("-sv") + 3]
    section = write(tmp_path, kind, model_config, peers.build(make).state_dict())
    loaded = load_model(tmp_path)
    assert loaded.card["threshold"] == 0.36
    peers.check_waveforms(pipeline_model(module, pipeline, tmp_path, section), loaded)


TEACHERS = {
    "rdino_ecapa-tdnn-sv": ("rdino", "_RDINO", "Combine", lambda m: m.RDINOHead(512, 65536, True)),
    "sdpn_ecapa-sv": ("sdpn", "SDPN", "Combiner", lambda m: m.SDPNHead(512, True)),
}


def teacher(tmp_path, kind, prefix):
    """A teacher checkpoint in ``tmp_path``: the package's module, the network, the model section."""
    file, _, combine, head = TEACHERS[kind]
    module = peers.modelscope(file)
    network = peers.build(
        lambda: getattr(module, combine)(module.ECAPA_TDNN(80, channels=WIDE), head(module))
    )
    state = {prefix + key: value for key, value in network.state_dict().items()}
    section = write(tmp_path, kind, {"channel": 1024}, {"teacher": state, "epoch": 3})
    return module, network, section


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", TEACHERS)
def test_teachers_behind_the_fbank_of_modelscope(tmp_path, kind, prefix):
    module, _, section = teacher(tmp_path, kind, prefix)
    peer = pipeline_model(module, TEACHERS[kind][1], tmp_path, section)
    peers.check_waveforms(peer, load_model(tmp_path, ssl_frontend="fbank"))


@pytest.mark.parametrize("kind", TEACHERS)
def test_teachers_behind_the_mel_spectrogram_of_3d_speaker(tmp_path, kind, caplog):
    """Their backbone behind torchaudio's mel spectrogram and torch's instance normalisation."""
    _, network, _ = teacher(tmp_path, kind, "module.")
    mel = peers.module("torchaudio.transforms").MelSpectrogram(
        sample_rate=16000, n_fft=512, win_length=400, hop_length=160, f_min=0.0, f_max=8000, pad=0, n_mels=80
    )
    norm = torch.nn.InstanceNorm1d(80)
    with caplog.at_level("INFO"):
        loaded = load_model(tmp_path)
    assert "front end of model.ckpt: mel powers as in 3D-Speaker" in caplog.text
    assert "head.* set aside" in caplog.text
    peers.check_waveforms(
        lambda samples: network.backbone(norm((mel(samples) + 1e-6).log()).transpose(1, 2)), loaded
    )
