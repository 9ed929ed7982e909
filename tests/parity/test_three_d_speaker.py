"""3D-Speaker experiments: the newest checkpoint, behind the configuration of its recipes.

Its classes are in no package; ModelScope's, from the same authors, have the same weights and results.
"""

import peers
import pytest
import torch
import yaml

from speakerlab.hub.load import load_model
from speakerlab.torchaudio_import import kaldi

WIDE = [1024, 1024, 1024, 1024, 3072]
# recipe -> module and class of the peer with arguments, class of 3D-Speaker, args of its node
CASES = {
    "cam++": (
        "DTDNN", "CAMPPlus", {"feat_dim": 80, "embedding_size": 512},
        "campplus.DTDNN.CAMPPlus", {"feat_dim": "<fbank_dim>", "embedding_size": "<embedding_size>"},
    ),
    "eres2net": (
        "ERes2Net", "ERes2Net", {"m_channels": 32, "embed_dim": 512},
        "eres2net.ERes2Net.ERes2Net",
        {"feat_dim": "<fbank_dim>", "embedding_size": "<embedding_size>", "m_channels": 32},
    ),
    "eres2net-huge": (
        "ERes2Net_aug", "ERes2Net_aug", {"embedding_size": 512},
        "eres2net.ERes2Net_huge.ERes2Net", {"feat_dim": "<fbank_dim>", "embedding_size": "<embedding_size>"},
    ),
    "eres2netv2": (
        "ERes2NetV2", "ERes2NetV2", {"embed_dim": 512, "baseWidth": 26, "scale": 2, "expansion": 2},
        "eres2net.ERes2NetV2.ERes2NetV2",
        {
            "feat_dim": "<fbank_dim>", "embedding_size": "<embedding_size>", "m_channels": 64,
            "baseWidth": 26, "scale": 2, "expansion": 2,
        },
    ),
    "res2net": (
        "Res2Net", "Res2Net", {"m_channels": 32, "embedding_size": 512},
        "res2net.Res2Net.Res2Net",
        {"feat_dim": "<fbank_dim>", "embedding_size": "<embedding_size>", "m_channels": 32},
    ),
    "resnet": (
        "ResNet", "ResNet", {"feat_dim": 80, "m_channels": 32, "embedding_size": 512},
        "resnet.ResNet.ResNet",
        {"feat_dim": "<fbank_dim>", "embedding_size": "<embedding_size>", "m_channels": 32},
    ),
    "ecapa": (
        "ecapa_tdnn", "ECAPA_TDNN", {"input_size": 80, "lin_neurons": 512, "channels": WIDE},
        "ecapa_tdnn.ECAPA_TDNN.ECAPA_TDNN",
        {"input_size": "<fbank_dim>", "lin_neurons": "<embedding_size>", "channels": WIDE},
    ),
    "xvector": (
        "xvector", "XVEC", {"feat_dim": 80, "embed_dim": 512},
        "xvector.TDNN.Xvector", {"feat_dim": "<fbank_dim>", "embed_dim": "<embedding_size>"},
    ),
}  # fmt: skip


def write(path, cls, arguments, states):
    """An experiment as its trainer leaves it; ``states`` by unix time."""
    config = {
        "exp_dir": "exp/first",
        "sample_rate": 16000,
        "min_lr": 5e-5,
        "fbank_dim": 80,
        "embedding_size": 512,
        "feature_extractor": {
            "obj": "speakerlab.process.processor.FBank",
            "args": {"n_mels": "<fbank_dim>", "sample_rate": "<sample_rate>", "mean_nor": True},
        },
        "embedding_model": {"obj": f"speakerlab.models.{cls}", "args": arguments},
        "checkpointer": {
            "obj": "speakerlab.utils.checkpoint.Checkpointer",
            "args": {"checkpoints_dir": "<exp_dir>/models"},
        },
    }
    path.mkdir(exist_ok=True)
    (path / "config.yaml").write_text(yaml.dump(config))
    for epoch, (time, state) in enumerate(states.items(), 1):
        folder = path / "models" / f"CKPT-EPOCH-{epoch}-00"
        folder.mkdir(parents=True)
        (folder / "CKPT.yaml").write_text(yaml.dump({"unixtime": time, "epoch": epoch}))
        torch.save(state, folder / "embedding_model.ckpt")
        torch.save({"weight": torch.zeros(3, 512)}, folder / "classifier.ckpt")
    return path


def fbank(samples):
    """The features of 3D-Speaker's FBank: torchaudio's defaults, the mean removed."""
    feats = kaldi.fbank(samples, num_mel_bins=80, sample_frequency=16000, dither=0)
    return (feats - feats.mean(0, keepdim=True))[None]


@pytest.mark.parametrize("case", CASES)
def test_the_newest_checkpoint_from_waveform_to_embedding(tmp_path, case):
    file, name, peer_arguments, cls, arguments = CASES[case]
    make = getattr(peers.modelscope(file), name)
    old, new = (peers.build(lambda: make(**peer_arguments), seed=seed) for seed in (1, 2))
    # the newest by its time, not by its epoch
    write(tmp_path, cls, arguments, {1700000200.5: new.state_dict(), 1700000100: old.state_dict()})
    peers.check_waveforms(lambda samples: new(fbank(samples)), load_model(tmp_path))
