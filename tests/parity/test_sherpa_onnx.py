"""An exported CAM++ in sherpa-onnx gives our embedding: its loader, its features, its runtime."""

import shutil
import sys
from pathlib import Path

import numpy as np
import peers
import pytest
import sherpa_onnx

from speakerlab import cli
from speakerlab import config as config_io
from speakerlab.embed.extractor import Extractor
from speakerlab.hub import bundle, onnx_file, onnx_metadata
from speakerlab.types import Waveform


def theirs(path, samples):
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(
        sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(path), num_threads=1)
    )
    stream = extractor.create_stream()
    stream.accept_waveform(sample_rate=peers.RATE, waveform=samples)
    stream.input_finished()
    assert extractor.is_ready(stream)
    embedding = np.array(extractor.compute(stream))
    assert embedding.shape == (extractor.dim,)
    return embedding


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def settings(scale, mean):
    fbank = {"name": "fbank", "scale": scale, "high_hz": -400.0, "snip_edges": False}
    cmvn = {"mean": mean}
    model = {"name": "campplus", "embed_dim": 192}
    return config_io.from_mapping(
        bundle.EmbedderConfig, {"frontend": fbank, "cmvn": cmvn, "model": model}, "test"
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """CAM++ and its graph as the command writes it, once: exporting takes most of this module's time."""
    folder = tmp_path_factory.mktemp("sherpa")
    config = settings(scale=1.0, mean=True)
    network = peers.build(lambda: config.model.build(feat_dim=80))
    bundle.save(folder / "m", network, config, 80, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["speakerlab", "export", str(folder / "m"), str(folder / "m.onnx")])
        cli.main()
    return network, folder / "m.onnx"


def check(network, config, path):
    extractor = Extractor(config, network)
    for samples in peers.waveforms():
        (ours,) = extractor.embed([Waveform(samples, peers.RATE)])
        assert cosine(theirs(path, samples), ours) > 0.9999, len(samples)


def test_the_file_as_published_gives_our_embeddings(exported):
    network, path = exported
    check(network, settings(scale=1.0, mean=True), path)


@pytest.mark.parametrize("mean", [True, False])
def test_the_range_of_samples_and_the_mean_are_followed(exported, mean, tmp_path):
    network, path = exported
    config = settings(scale=32768.0, mean=mean)
    bundle.save(tmp_path / "m", network, config, 80, {})
    loaded = bundle.load(tmp_path / "m")
    assert onnx_metadata.sherpa_differences(loaded) == []
    other = Path(shutil.copy(path, tmp_path / "m.onnx"))
    onnx_file.write(other, {**onnx_metadata.describe(loaded), **onnx_metadata.sherpa(loaded)})
    check(network, config, other)
