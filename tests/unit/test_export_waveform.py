"""The graph that takes a waveform gives the features and the embeddings of the extractor."""

import numpy as np
import onnxruntime
import pytest
import torch
from test_export import SETTINGS, refused, save, speakerlab  # noqa: F401

from speakerlab.embed.extractor import Extractor
from speakerlab.frontend.fbank import Fbank, FbankConfig
from speakerlab.hub.onnx_waveform import TraceableFbank
from speakerlab.types import Waveform

FBANKS = (
    {"scale": 1.0},
    {"window": "hamming"},
    {"snip_edges": False, "high_hz": -400.0},
    {"use_power": False, "remove_dc": False, "preemphasis": 0.0},
    {"sample_rate": 8000, "frame_length_ms": 20.0, "use_log": False, "scale": 1.0},
)


def waveform(size, gain=0.1):
    """Noise through a resonance."""
    rng = np.random.default_rng(size)
    tone = np.sin(2 * np.pi * 180 * np.arange(size) / 16000)
    return (gain * (0.5 * rng.standard_normal(size) + tone)).astype(np.float32)


@pytest.mark.parametrize("settings", FBANKS)
@pytest.mark.parametrize("gain", [0.1, 1e-4])
def test_features_are_those_of_the_front_end(settings, gain):
    config = FbankConfig(**settings)
    for size in (400, 5000, 16037):
        samples = torch.from_numpy(waveform(size, gain))
        found = TraceableFbank(config)(samples[None])[0]
        torch.testing.assert_close(found, Fbank(config)(samples), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("snip_edges", [True, False])
def test_embeddings_are_those_of_the_extractor(snip_edges, tmp_path, speakerlab):  # noqa: F811
    frontend = {"name": "fbank", "num_mels": 80, "snip_edges": snip_edges}
    extractor = Extractor.of_bundle(save(tmp_path / "m", {**SETTINGS, "frontend": frontend}))
    speakerlab("export", "--input", "waveform", tmp_path / "m", tmp_path / "out.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    assert session.get_inputs()[0].name == "waveform"
    for size, gain in ((8000, 0.1), (16037, 1e-4), (40111, 0.5)):
        batch = np.stack([waveform(size, gain), waveform(size + 1, gain)[1:]])
        (found,) = session.run(None, {"waveform": batch})
        expected = extractor.embed([Waveform(samples, 16000) for samples in batch])
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        assert ((found * expected).sum(axis=1) / norms).min() > 0.99999


def test_what_cannot_be_in_the_graph_is_said(tmp_path, speakerlab, capsys):  # noqa: F811
    save(tmp_path / "m", {**SETTINGS, "frontend": {"name": "mfcc"}})
    save(tmp_path / "d", {**SETTINGS, "frontend": {"name": "fbank", "dither": 1.0}})
    for name, reason in (("m", "only fbank can"), ("d", "dither 1 is random")):
        arguments = ("export", "--input", "waveform", tmp_path / name, tmp_path / "out.onnx")
        assert reason in refused(capsys, speakerlab, *arguments)
        assert not (tmp_path / "out.onnx").exists()
