"""Bundles come back equal and refuse whatever is not what was saved; extraction from them."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speakerlab import config as config_io
from speakerlab.embed.extractor import Extractor, pick_device
from speakerlab.errors import AudioError, ConfigError, DataError, SpeakerLabError
from speakerlab.hub import bundle
from speakerlab.types import Waveform

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 24},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 16], "embed_dim": 4},
}


@pytest.fixture
def saved(tmp_path):
    config = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
    torch.manual_seed(0)
    model = config.model.build(feat_dim=24)
    bundle.save(tmp_path / "m", model, config, 24, {"commit": "abc"})
    return tmp_path / "m", model.eval(), config


def rehash(path, name):
    card = json.loads((path / bundle.CARD).read_text())
    card["sha256"][name] = bundle.sha256(path / name)
    (path / bundle.CARD).write_text(json.dumps(card))


def test_what_is_loaded_is_what_was_saved(saved):
    path, model, config = saved
    loaded = bundle.load(path)
    assert loaded.config == config
    assert loaded.card["embed_dim"] == 4
    assert loaded.card["feat_dim"] == 24
    assert loaded.card["provenance"] == {"commit": "abc"}
    feats = torch.randn(2, 50, 24)
    assert torch.equal(loaded.model(feats), model(feats))
    assert not loaded.model.training


def test_saving_again_replaces_the_bundle_whole(saved):
    path, model, config = saved
    (path / "stray").write_text("x")
    before = bundle.load(path).content_hash
    with torch.no_grad():
        next(model.parameters()).add_(1)
    bundle.save(path, model, config, 24, {})
    assert sorted(p.name for p in path.iterdir()) == ["bundle.json", "config.yaml", "model.safetensors"]
    assert bundle.load(path).content_hash != before
    assert [p.name for p in path.parent.iterdir()] == ["m"]


@pytest.mark.parametrize("name", [bundle.WEIGHTS, bundle.CONFIG, bundle.CARD])
def test_a_missing_file_is_named(saved, name):
    path, _, _ = saved
    (path / name).unlink()
    with pytest.raises(DataError, match=f"no {name}"):
        bundle.load(path)


@pytest.mark.parametrize("name", [bundle.WEIGHTS, bundle.CONFIG])
def test_a_changed_byte_is_noticed(saved, name):
    path, _, _ = saved
    content = bytearray((path / name).read_bytes())
    content[-2] ^= 1
    (path / name).write_bytes(bytes(content))
    with pytest.raises(DataError, match=f"{name}: does not match its hash"):
        bundle.load(path)


def test_damaged_card_and_other_format(saved):
    path, _, _ = saved
    card = json.loads((path / bundle.CARD).read_text())
    (path / bundle.CARD).write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(DataError, match="has format 99, this version reads 1"):
        bundle.load(path)
    (path / bundle.CARD).write_text("{")
    with pytest.raises(DataError, match="bundle.json: is damaged"):
        bundle.load(path)


def test_keys_that_do_not_fit_are_listed_and_nothing_is_loaded(saved):
    path, _, _ = saved
    state = load_file(path / bundle.WEIGHTS)
    first, second, *_ = sorted(k for k, v in state.items() if v.ndim > 1)
    state["surplus"] = state.pop(first)
    state[second] = torch.zeros(3, 3)
    save_file(state, path / bundle.WEIGHTS)
    rehash(path, bundle.WEIGHTS)
    with pytest.raises(DataError) as error:
        bundle.load(path)
    for said in (f"1 missing keys: {first}", "1 unknown keys: surplus", f"1 other shapes: {second}"):
        assert said in str(error.value)


def test_a_config_with_an_unknown_key_is_refused(saved):
    path, _, _ = saved
    text = (path / bundle.CONFIG).read_text().replace("embed_dim", "embed_dm")
    (path / bundle.CONFIG).write_text(text)
    rehash(path, bundle.CONFIG)
    with pytest.raises(ConfigError, match="did you mean 'embed_dim'"):
        bundle.load(path)


def test_extraction_is_frontend_normalisation_network(saved):
    path, model, config = saved
    extractor = Extractor.of_bundle(bundle.load(path))
    rng = np.random.default_rng(0)
    waves = [Waveform((0.1 * rng.standard_normal(n)).astype(np.float32), 16000) for n in (16000, 9000, 30000)]
    together = extractor.embed(waves)
    for wave, row in zip(waves, together, strict=True):
        feats = config.frontend.build()(torch.from_numpy(wave.samples))
        with torch.no_grad():
            alone = model((feats - feats.mean(0))[None])[0]
        np.testing.assert_allclose(row, alone.numpy(), atol=1e-5)


def test_voiced_frames_alone_are_used(saved):
    path, _, _ = saved
    extractor = Extractor.of_bundle(bundle.load(path))
    feats = torch.randn(30, 24)
    voiced = (np.arange(30) % 3 == 0).astype(np.float32)
    kept = extractor.normalise("u", feats, voiced)
    torch.testing.assert_close(kept, feats[::3] - feats[::3].mean(0))
    with pytest.raises(AudioError, match="u: 30 frames but 29 voice decisions"):
        extractor.normalise("u", feats, voiced[1:])
    with pytest.raises(AudioError, match="u: 0 frames of speech, the model needs"):
        extractor.normalise("u", feats, np.zeros(30, np.float32))


def test_another_rate_or_a_missing_device_is_refused(saved):
    path, _, _ = saved
    extractor = Extractor.of_bundle(bundle.load(path))
    with pytest.raises(SpeakerLabError, match="8000 Hz, the model"):
        extractor.features(Waveform(np.zeros(8000, np.float32), 8000))
    assert pick_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(SpeakerLabError, match="no CUDA device"):
            pick_device("cuda")


def test_a_bundle_can_be_moved(saved, tmp_path):
    path, _, _ = saved
    moved = shutil.move(path, tmp_path / "elsewhere")
    assert bundle.load(moved).path == moved
