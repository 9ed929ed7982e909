"""ModelScope's own verification pipeline beside ours in its form: score, words, embeddings and files."""

import sys
import types

import numpy as np
import peers
import pytest
import soundfile
import torch
from modelscope.utils.registry import Registry
from test_modelscope import pipeline_model, write

from speakerlab.pipeline import pipeline


def theirs(model):
    """Their pipeline around ``model``, without the constructor, which only loads it from a hub or folder.

    Empty base classes stand for theirs, which want packages for data sets; all of the call is in this module.
    """
    base = types.ModuleType("modelscope.pipelines.base")
    base.InputModel, base.Pipeline = object, object
    builder = types.ModuleType("modelscope.pipelines.builder")
    builder.PIPELINES = Registry("pipelines")
    sys.modules.update({base.__name__: base, builder.__name__: builder})
    module = peers.module("modelscope.pipelines.audio.speaker_verification_light_pipeline")
    made = module.SpeakerVerificationPipeline.__new__(module.SpeakerVerificationPipeline)
    made.model, made.model_config, made.save_dict = model, model.model_config, {}
    made.thr = model.other_config["yesOrno_thr"]
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    module = peers.modelscope("DTDNN")
    config = {"fbank_dim": 80, "emb_size": 192}
    section = write(path, "cam++-sv", config, peers.build(lambda: module.CAMPPlus(80, 192)).state_dict())
    return theirs(pipeline_model(module, "CAMPPlus", path, section)), pipeline(model=path, ngpu=0)


@pytest.fixture(scope="module")
def recordings(talkers, tmp_path_factory):
    """Two wav files; the second also as an array of 16-bit integers.

    They have the noise of a room: on the digital silence of synthetic speech a network of random weights
    makes any rounding large, even of float64.
    """
    path = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    loud = [talker[0].samples * 32768 + rng.normal(0, 300, len(talker[0].samples)) for talker in talkers]
    steps = [np.rint(one).clip(-32768, 32767).astype(np.int16) for one in loud]
    for name, one in zip("ab", steps, strict=True):
        soundfile.write(path / f"{name}.wav", one, peers.RATE)
    return str(path / "a.wav"), str(path / "b.wav"), steps[1]


@pytest.mark.parametrize("thr", [None, -0.5, 0.99])
def test_score_and_answer(both, recordings, thr):
    a, b, array = recordings
    peer, ours = both
    for pair in ([a, b], [a, a], (a, array)):
        peer.thr = 0.36  # theirs keeps that of the last call
        expected = peer(pair, thr=thr)
        found = ours(pair, thr=thr)
        assert found["score"] == pytest.approx(expected["score"], abs=2e-5)
        assert found["text"] == expected["text"]
        assert found["threshold"] == (0.36 if thr is None else thr)


def test_embeddings_and_files(both, recordings, tmp_path):
    a, b, _ = recordings
    peer, ours = both
    with torch.inference_mode():
        expected = peer([a, b], output_emb=True, save_dir=str(tmp_path / "theirs"))
    found = ours([a, b], output_emb=True, save_dir=str(tmp_path / "ours"))
    assert set(expected) == set(found)
    assert set(expected["outputs"]) <= set(found["outputs"])
    for one, other in zip(found["embs"], expected["embs"], strict=True):
        assert np.linalg.norm(one - other) < 1e-4 * np.linalg.norm(other)
    names = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "ours").iterdir())
    for name in names:
        one, other = np.load(tmp_path / "theirs" / name), np.load(tmp_path / "ours" / name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
    three = ours([a, b, a], output_emb=True)
    assert three["outputs"]["text"] == peer([a, b, a], output_emb=True)["outputs"]["text"]
