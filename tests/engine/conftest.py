"""The engine that tests/engine/run.sh built, and recordings made here."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speakerlab import config as config_io
from speakerlab.cache import user_cache
from speakerlab.embed import graphs
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.hub import bundle, onnx_file, onnx_metadata, published
from speakerlab.hub.model_cache import ModelCache

BUILD = Path(os.environ["SPEAKERLAB_TEST_ENGINE"])  # tests/engine/run.sh builds it
ASSETS = Path(__file__).parents[2] / "runtime/onnxruntime/assets"
RATE = 16000


def run(program, *arguments, check=0, **options):
    """What ``program`` of the engine prints; its exit status must be ``check``."""
    command = [str(BUILD / "bin" / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == check, f"{command} gives {done.returncode}: {done.stderr}"
    return done


def voiced(seconds, seed=0, level=0.1):
    """Samples [S] that resemble a voice: harmonics of a gliding pitch under a moving spectrum, and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    centre = 900 + 600 * np.sin(2 * np.pi * 1.9 * time)
    harmonics = [
        np.exp(-(((number * pitch - centre) / 500) ** 2)) * np.sin(number * phase) for number in range(1, 30)
    ]
    samples = sum(harmonics) + 0.05 * rng.standard_normal(len(time))
    return (level * samples / np.abs(samples).max()).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    """Writes samples as a WAV file and gives its path."""

    def write(name, samples, rate=RATE, subtype="PCM_16"):
        path = tmp_path / name
        if subtype == "PCM_16":
            samples = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
        soundfile.write(path, samples, rate, format="WAV", subtype=subtype)
        return path

    return write


@pytest.fixture
def scp(tmp_path):
    """Writes a list and gives its path."""

    def write(entries, name="wav.scp"):
        path = tmp_path / name
        path.write_text("".join(f"{key} {source}\n" for key, source in entries.items()))
        return path

    return write


NETWORKS = ("published", "eres2net", "eres2netv2", "ecapa_tdnn")


def trained(make):
    """A network with seeded weights, and normalisations as training leaves them."""
    torch.manual_seed(0)
    network = make().train()
    for part in network.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.momentum = None  # the average over all calls
            if part.affine:
                part.weight.data.uniform_(0.5, 1.5)
                part.bias.data.normal_(0, 0.3)
    with torch.no_grad():
        network(2 * torch.randn(4, 200, 80))
    return network.eval()


def exported(model, path):
    """The graph from features to embedding, with its metadata, as ``speakerlab export`` writes it.

    The user's cache keeps the graph: making one takes half a minute.
    """
    shutil.copyfile(graphs.exported(model, GraphCache(user_cache())), path)
    onnx_file.write(path, {**onnx_metadata.describe(model), "precision": "fp32"})
    return path


@pytest.fixture(scope="session")
def published_model():
    return ModelCache(user_cache()).load(published.TABLE["campplus"])


@pytest.fixture(scope="session")
def models(published_model, tmp_path_factory):
    """Gives the bundle and the exported graph of one of ``NETWORKS``, made once."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def get(name):
        if name not in made:
            loaded = published_model
            if name != "published":
                settings = {"frontend": {"name": "fbank"}, "model": {"name": name, "embed_dim": 192}}
                config = config_io.from_mapping(bundle.EmbedderConfig, settings, "test")
                bundle.save(folder / name, trained(lambda: config.model.build(feat_dim=80)), config, 80, {})
                loaded = bundle.load(folder / name)
            made[name] = loaded, exported(loaded, folder / f"{name}.onnx")
        return made[name]

    return get


@pytest.fixture(scope="session")
def waveform_graph(published_model):
    """The published model's graph from samples to embedding, with its calibration."""
    return ModelCache(user_cache()).graph(published.TABLE["campplus"])
