"""Bundles come back equal and refuse whatever is not what was saved; extraction from them."""

import ast
import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speakerlab import config as config_io
from speakerlab.embed.extractor import Extractor, pick_device
from speakerlab.errors import AudioError, ConfigError, DataError, SpeakerLabError
from speakerlab.hub import bundle
from speakerlab.hub.calibration import Calibration
from speakerlab.io.digest import sha256
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.types import ScoreTable, TrialList, Waveform

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
    card["sha256"][name] = sha256(path / name)
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


def test_the_domain_is_of_the_card_and_changes_no_identity(saved, tmp_path):
    path, model, config = saved
    assert bundle.load(path).domain is None
    before = bundle.content_hash(path)
    bundle.amend(path, {"domain": "tones", "other": [1]})
    found = bundle.load(path)
    assert (found.domain, found.card["other"], found.content_hash) == ("tones", [1], before)
    bundle.save(tmp_path / "n", model, config, 24, {}, domain="speech")
    assert bundle.load(tmp_path / "n").domain == "speech"
    (path / bundle.WEIGHTS).write_bytes(b"")
    with pytest.raises(DataError, match="does not match its hash"):
        bundle.amend(path, {"domain": "other"})


def mapped(path):
    """Figures in kB of the mappings of a file into this process, by name."""
    figures, inside = {}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, *values = line.split()
        if not key.endswith(":"):
            inside = line.endswith(f" {path}")
        elif inside and values[-1] == "kB":
            figures[key[:-1]] = figures.get(key[:-1], 0) + int(values[0])
    return figures


def test_weights_are_shared_by_the_processes_that_run_a_model(tmp_path):
    settings = {"model": {"name": "tdnn", "channels": [256] * 5, "embed_dim": 64}}
    config = config_io.from_mapping(bundle.EmbedderConfig, settings, "test")
    path = tmp_path / "m"
    bundle.save(path, config.model.build(feat_dim=80), config, 80, {})
    code = (
        "import sys, torch, pathlib, test_bundle\n"
        "from speakerlab.hub import bundle\n"
        "loaded = bundle.load(pathlib.Path(sys.argv[1]))\n"
        "loaded.model(torch.randn(1, 50, 80))\n"
        "print(flush=True); input()\n"  # until the other has loaded it too
        "print(test_bundle.mapped(loaded.path / bundle.WEIGHTS))"
    )
    here = Path(__file__).parent
    options = {"env": {**os.environ, "PYTHONPATH": f"{here.parents[1]}:{here}"}, "text": True}
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, **options) for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "\n"
    found = ast.literal_eval(workers[0].communicate("\n")[0])
    workers[1].communicate("\n")
    size_kb = (path / bundle.WEIGHTS).stat().st_size / 1024
    assert found["Rss"] > 0.9 * size_kb
    assert found["Pss"] < 0.6 * size_kb  # half of each page
    assert found["Private_Dirty"] == 0


def test_training_a_loaded_network_leaves_its_file_alone(saved):
    path, model, _ = saved
    content = (path / bundle.WEIGHTS).read_bytes()
    loaded = bundle.load(path).model.train()
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded(torch.randn(4, 50, 24)).square().sum().backward()
    optimizer.step()
    before, after = model.state_dict(), loaded.state_dict()
    assert not any(torch.equal(before[key], after[key]) for key in before if key.endswith("running_mean"))
    assert not torch.equal(next(model.parameters()), next(loaded.parameters()))
    assert mapped(path / bundle.WEIGHTS)["Private_Dirty"] > 0
    assert (path / bundle.WEIGHTS).read_bytes() == content
    again = bundle.load(path).model
    assert all(torch.equal(again.state_dict()[key], before[key]) for key in before)


def test_a_loaded_network_does_not_notice_that_its_bundle_is_replaced(saved):
    path, model, config = saved
    loaded, feats = bundle.load(path), torch.randn(2, 50, 24)
    expected = loaded.model(feats)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    bundle.save(path, model, config, 24, {})
    assert torch.equal(loaded.model(feats), expected)
    assert not torch.allclose(bundle.load(path).model(feats), expected)
    bundle.save(path, loaded.model, config, 24, {})  # the file it replaces is not the one it reads from
    assert torch.equal(bundle.load(path).model(feats), expected)


def test_weights_of_another_type_become_those_of_the_network(saved):
    path, model, _ = saved
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    save_file(state, path / bundle.WEIGHTS)
    rehash(path, bundle.WEIGHTS)
    loaded = bundle.load(path).model
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], atol=1e-3, rtol=1e-3)


def test_who_may_read_the_card_may_read_the_weights(saved):
    path, _, _ = saved
    modes = {name: (path / name).stat().st_mode for name in (bundle.CARD, bundle.CONFIG, bundle.WEIGHTS)}
    assert len(set(modes.values())) == 1, modes


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
    torch.testing.assert_close(torch.from_numpy(kept), feats[::3] - feats[::3].mean(0))
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


CALIBRATION = Calibration(
    scale=20.0,
    offset=-7.0,
    point_name="voxceleb",
    point=OperatingPoint(0.01),
    prior=0.5,
    trials="dev/trials",
    num_targets=100,
    num_nontargets=900,
)


def test_the_threshold_is_where_the_llr_is_the_bayes_threshold():
    assert CALIBRATION.threshold == pytest.approx((math.log(99) + 7) / 20, rel=1e-12)
    assert CALIBRATION.llr(CALIBRATION.threshold) == pytest.approx(math.log(99), rel=1e-12)
    costly = dataclasses.replace(CALIBRATION, point=OperatingPoint(0.01, c_miss=10))
    assert costly.threshold == pytest.approx((math.log(9.9) + 7) / 20, rel=1e-12)


def test_the_errors_of_a_calibration_are_counted_at_its_threshold():
    """The threshold is (log 99 + 7) / 20 = 0.58: a target is below, two of the others above."""
    trials = TrialList(list("abcdefg"), list("hijklmn"), np.array([1, 0, 1, 0, 1, 0, 1], np.int8))
    counted = CALIBRATION.counted(ScoreTable(trials, np.array([0.9, 0.6, 0.57, 0.7, 0.59, 0.5, 0.6])))
    assert (counted.num_misses, counted.num_false_accepts) == (1, 2)
    edge = ScoreTable(TrialList(["a"], ["b"], np.array([0], np.int8)), np.array([CALIBRATION.threshold]))
    assert CALIBRATION.counted(edge).num_false_accepts == 1


def test_a_calibration_is_stored_and_replaced_without_touching_the_rest(saved):
    path, _, _ = saved
    before = bundle.load(path)
    assert before.calibration is None
    files = {name: (path / name).read_bytes() for name in (bundle.WEIGHTS, bundle.CONFIG)}
    for offset in (-7.0, -0.1 - 0.2):
        calibration = dataclasses.replace(CALIBRATION, offset=offset)
        bundle.calibrate(path, calibration)
        after = bundle.load(path)
        assert after.calibration == calibration
        assert after.content_hash == before.content_hash
    assert {name: (path / name).read_bytes() for name in files} == files
    assert sorted(p.name for p in path.iterdir()) == ["bundle.json", "config.yaml", "model.safetensors"]
    assert {k: v for k, v in after.card.items() if k != "calibration"} == before.card


def test_a_new_model_has_no_calibration_of_the_old_one(saved):
    path, model, config = saved
    bundle.calibrate(path, CALIBRATION)
    bundle.save(path, model, config, 24, {})
    assert bundle.load(path).calibration is None


def test_a_copy_keeps_its_calibration(saved, tmp_path):
    _, model, config = saved
    bundle.save(tmp_path / "copy", model, config, 24, {}, rule=CALIBRATION)
    assert bundle.load(tmp_path / "copy").calibration == CALIBRATION


def change(path, **entries):
    card = json.loads((path / bundle.CARD).read_text())
    card["calibration"].update(entries)
    (path / bundle.CARD).write_text(json.dumps(card))


@pytest.mark.parametrize("entries", [{"scale": 21.0}, {"num_targets": 101}, {"trials": "other"}])
def test_a_calibration_changed_by_hand_is_refused(saved, entries):
    path, _, _ = saved
    bundle.calibrate(path, CALIBRATION)
    change(path, **entries)
    with pytest.raises(DataError, match="bundle.json: its calibration does not match its hash; calibrate"):
        bundle.load(path)


@pytest.mark.parametrize("entries", [{"surplus": 1}, {"point": None}, {"scale": "x"}, {"scale": -1.0}])
def test_a_damaged_calibration_is_refused(saved, entries):
    path, _, _ = saved
    bundle.calibrate(path, CALIBRATION)
    change(path, **entries)
    with pytest.raises(DataError, match="its calibration is damaged"):
        bundle.load(path)


def test_the_calibration_of_another_model_is_refused(saved, tmp_path):
    path, model, config = saved
    with torch.no_grad():
        next(model.parameters()).add_(1)
    bundle.save(tmp_path / "other", model, config, 24, {}, rule=CALIBRATION)
    entry = json.loads((tmp_path / "other" / bundle.CARD).read_text())["calibration"]
    bundle.calibrate(path, CALIBRATION)
    change(path, **entry)
    with pytest.raises(DataError, match="made for another model"):
        bundle.load(path)


def test_a_damaged_bundle_is_not_calibrated(saved):
    path, _, _ = saved
    (path / bundle.CONFIG).write_text("x: 1")
    card = (path / bundle.CARD).read_bytes()
    with pytest.raises(DataError, match="does not match its hash"):
        bundle.calibrate(path, CALIBRATION)
    assert (path / bundle.CARD).read_bytes() == card


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scale": -2.0}, "speak against"),
        ({"offset": math.nan}, "must be finite"),
    ],
)
def test_a_calibration_that_cannot_decide_is_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        dataclasses.replace(CALIBRATION, **changes)


def test_a_threshold_that_no_score_reaches_is_refused():
    far = dataclasses.replace(CALIBRATION, offset=-30.0)
    with pytest.raises(
        ValueError, match="threshold 1.730 at voxceleb .* in -1 to 1: all would be decided alike"
    ):
        far.require_threshold(-1.0, 1.0)
    far.require_threshold(-1.0, 1.8)  # as scores of an adapted model may lie
    CALIBRATION.require_threshold(-1.0, 1.0)
