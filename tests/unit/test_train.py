"""Training: schedules by hand, crops that depend on nothing but their key, exact resume, two processes."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.errors import ConfigError, DataError, SpeakerLabError
from speakerlab.train import checkpoint, schedule
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.dataset import CropKey, CropSampler
from speakerlab.train.experiment import ExperimentConfig, OptimizerConfig, SamplingConfig
from speakerlab.train.loop import Trainer

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "model": {"name": "tdnn", "channels": [16, 16, 16, 16, 32], "embed_dim": 8},
    "sampling": {"crop_s": 1.0, "speeds": [1.0, 0.9]},
    "augment": {"gain": {"probability": 0.5}, "equalizer": {"probability": 0.5}},
    "train": {"epochs": 4, "batch_size": 8, "average": 2, "margin_epochs": [1, 3]},
    "optimizer": {"lr": 0.05, "warmup_epochs": 1.0},
}


@pytest.fixture
def experiment():
    return config_io.from_mapping(ExperimentConfig, SETTINGS, "test")


def make_trainer(config, train_dir, exp_dir, num_workers=0):
    corpus = TrainCorpus.load(train_dir)
    dataset = corpus.waveform_dataset(config, Augmenter(config.augment, [], [], 16000))
    sampler = CropSampler(corpus.durations_s, config.sampling, config.train.batch_size, config.seed)
    torch.manual_seed(config.seed)
    return Trainer(config, dataset, sampler, exp_dir, torch.device("cpu"), num_workers=num_workers)


def test_learning_rate_by_hand():
    settings = OptimizerConfig(lr=1.0, lr_final=0.1, warmup_epochs=2.0)
    rate = [schedule.learning_rate(settings, epoch, 10) for epoch in (0, 1, 2, 6, 10)]
    assert rate == pytest.approx([0, 0.5, 1.0, 0.1 + 0.9 / 2, 0.1])
    quarter = schedule.learning_rate(settings, 4, 10)
    assert quarter == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)


def test_margin_by_hand():
    margins = [schedule.margin(0.3, epoch, (2, 4)) for epoch in (0, 2, 2.5, 3, 4, 9)]
    assert margins == pytest.approx([0, 0, 0.075, 0.15, 0.3, 0.3])
    assert schedule.margin(0.3, 0, (0, 0)) == 0.3


def test_sampler_gives_every_second_its_share_and_every_rank_its_part():
    durations_s = np.array([1.0, 3.0, 0.2, 6.1])
    settings = SamplingConfig(crop_s=1.0)
    whole = CropSampler(durations_s, settings, 4, seed=3)
    batches = list(whole)
    assert len(whole) == len(batches) == 11 // 4
    counts = np.bincount([key.utt for batch in batches for key in batch], minlength=4)
    assert counts.sum() == 8
    assert (counts <= [1, 3, 1, 6]).all()
    parts = [list(CropSampler(durations_s, settings, 4, 3, rank=r, world=2)) for r in (0, 1)]
    for batch, first, second in zip(batches, *parts, strict=True):
        assert set(first) | set(second) == set(batch)
        assert len(first) == len(second) == 2
    whole.epoch = 1
    assert [k.utt for b in whole for k in b] != [k.utt for b in batches for k in b]


def test_sampler_refuses_data_that_fill_no_batch():
    with pytest.raises(DataError, match="do not fill a batch of 64"):
        CropSampler(np.array([3.0]), SamplingConfig(), 64, 0)


def test_a_crop_depends_on_its_key_alone(experiment, toy_data):
    corpus = TrainCorpus.load(toy_data / "train")
    dataset = corpus.waveform_dataset(experiment, Augmenter(experiment.augment, [], [], 16000))
    key = CropKey(2, 5, 7)
    first, label = dataset[key]
    for other in (CropKey(0, 1, 3), CropKey(2, 6, 7)):
        dataset[other]
    again, same_label = dataset[key]
    assert torch.equal(first, again)
    assert label == same_label
    assert first.shape == (98, 80)
    labels = {dataset[CropKey(0, n, 7)][1] for n in range(12)}
    assert labels == {1, 1 + 8}  # utterance 7 is of speaker 1; at the other speed it is a new class


def test_short_utterances_are_repeated_to_the_crop(toy_data):
    settings = {**SETTINGS, "sampling": {"crop_s": 4.0, "speeds": [1.0]}}
    config = config_io.from_mapping(ExperimentConfig, settings, "test")
    corpus = TrainCorpus.load(toy_data / "train")
    dataset = corpus.waveform_dataset(config, Augmenter(config.augment, [], [], 16000))
    assert dataset[CropKey(0, 0, 0)][0].shape == (398, 80)


def test_interrupted_and_resumed_equals_uninterrupted(experiment, toy_data, tmp_path):
    straight = make_trainer(experiment, toy_data / "train", tmp_path / "a")
    straight.run(None)

    class StopError(Exception):
        pass

    def stop_after_two(_model):
        if len(checkpoint.finished(tmp_path / "b")) == 2:
            raise StopError
        return 0.5

    broken = make_trainer(experiment, toy_data / "train", tmp_path / "b")
    with pytest.raises(StopError):
        broken.run(stop_after_two)
    assert checkpoint.epoch_of(checkpoint.finished(tmp_path / "b")[-1]) == 2
    resumed = make_trainer(experiment, toy_data / "train", tmp_path / "b", num_workers=2)
    resumed.resume()
    assert resumed.epoch == 2
    resumed.run(None)

    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    records = [json.loads(line) for line in (tmp_path / "b" / "train.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records] == [1, 2, 3, 4]
    losses = [json.loads(line)["loss"] for line in (tmp_path / "a" / "train.jsonl").read_text().splitlines()]
    assert [r["loss"] for r in records] == losses
    # the ramp runs from epoch 1 to 3: none in the first, not quite half at the end of the second
    assert [r["margin"] for r in records][::3] == [0.0, 0.2]
    assert 0 < records[1]["margin"] < 0.1
    kept = [p.name for p in checkpoint.finished(tmp_path / "a")]
    assert kept == ["epoch_0003.pt", "epoch_0004.pt"]


def test_average_by_hand(tmp_path):
    for epoch, value in enumerate((1.0, 2.0, 6.0), start=1):
        model = {"w": torch.full((2,), value), "n": torch.tensor(epoch)}
        checkpoint.save(tmp_path, epoch, {"model": model}, keep=3)
    mean = checkpoint.average(checkpoint.finished(tmp_path))
    assert mean["w"].tolist() == [3.0, 3.0]
    assert mean["n"] == 3


def test_damaged_checkpoint_is_named(tmp_path):
    path = checkpoint.path_of(tmp_path, 1)
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"epoch_0001.pt: cannot be read .*; delete it"):
        checkpoint.load(path)


def test_a_loss_that_is_not_finite_stops_the_run(experiment, toy_data, tmp_path):
    trainer = make_trainer(experiment, toy_data / "train", tmp_path)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(SpeakerLabError, match="loss is nan in epoch 1, batch 1"):
        trainer.run(None)
    assert not checkpoint.finished(tmp_path)


def command(toy_data, exp_dir, *extra):
    config_file = exp_dir.parent / "config.yaml"
    config_file.write_text(json.dumps(SETTINGS))
    arguments = ["--config", str(config_file), "--valid-data", str(toy_data / "test"), *extra]
    return ["-m", "speakerlab.bin.train", *arguments, str(toy_data / "train"), str(exp_dir)]


def run_python(arguments, **more):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )


def test_command_killed_and_rerun_equals_one_run_and_refuses_other_settings(toy_data, tmp_path):
    done = run_python(command(toy_data, tmp_path / "a", "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "a/train.jsonl").read_text().splitlines()[-1])
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    victim = subprocess.Popen(
        [sys.executable, *command(toy_data, tmp_path / "b")], env=env, cwd=ROOT, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not checkpoint.finished(tmp_path / "b") and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    done = run_python(command(toy_data, tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    assert "resumed after epoch" in done.stderr
    states = [checkpoint.load(checkpoint.finished(tmp_path / name)[-1]) for name in "ab"]
    for key, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][key]), key
    assert states[0]["optimizer"]["param_groups"] == states[1]["optimizer"]["param_groups"]

    other = run_python(command(toy_data, tmp_path / "b", "--set", "seed=5"))
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].endswith(
        "holds a run with other settings: seed (was 0, is 5); "
        "use another --exp or --overwrite true, which discards that run"
    )
    assert len(checkpoint.finished(tmp_path / "b")) == 2
    record = json.loads((tmp_path / "a" / "train.jsonl").read_text().splitlines()[-1])
    assert 0 <= record["valid_eer"] <= 1
    assert (tmp_path / "a" / "untrained" / "model.safetensors").exists()


def test_a_damaged_recording_stops_training_with_one_line(toy_data, tmp_path):
    data = shutil.copytree(toy_data / "train", tmp_path / "data")
    path = data / "audio" / "s03-u1.wav"
    path.write_bytes(path.read_bytes()[:9000])
    (tmp_path / "config.yaml").write_text(json.dumps(SETTINGS))
    arguments = ["--config", str(tmp_path / "config.yaml"), str(data), str(tmp_path / "exp")]
    done = run_python(["-m", "speakerlab.bin.train", *arguments])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train: s03-u1: ")
    assert "Traceback" not in done.stderr


def test_two_processes_train_one_model(toy_data, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = command(toy_data, tmp_path / "exp", "--device", "cpu", "--set", "train.epochs=2")
    done = run_python([*launcher, *arguments])
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(x) for x in (tmp_path / "exp" / "train.jsonl").read_text().splitlines()]
    corpus = TrainCorpus.load(toy_data / "train")
    one = CropSampler(corpus.durations_s, SamplingConfig(crop_s=1.0), 8, 0)
    assert [r["crops"] for r in records] == [len(one) * 8] * 2
    # Both begin anew: a process that went on from the discarded run would leave the other waiting.
    other = ("--set", "train.epochs=2", "--set", "seed=5", "--overwrite")
    again = command(toy_data, tmp_path / "exp", "--device", "cpu", *other)
    done = run_python([*launcher, *again])
    assert done.returncode == 0, done.stderr[-2000:]
    assert len((tmp_path / "exp" / "train.jsonl").read_text().splitlines()) == 2


def test_views_are_two_crops_of_the_same_draws():
    settings = SamplingConfig(crop_s=1.0, views=2)
    batches = list(CropSampler(np.array([4.0, 4.0, 4.0]), settings, 6, seed=0))
    assert len(batches) == 2
    for batch in batches:
        first, second = batch[:3], batch[3:]
        assert [key._replace(view=1) for key in first] == second
    with pytest.raises(ConfigError, match="batch_size: 5 is no multiple of 2"):
        CropSampler(np.array([9.0]), settings, 5, seed=0)
    # (1-based) rank 2 of 2 takes the odd draws, both views of each
    part = next(iter(CropSampler(np.array([4.0, 4.0, 4.0]), settings, 4, seed=0, rank=1, world=2)))
    assert [(key.draw, key.view) for key in part] == [(1, 0), (1, 1)]


def test_views_share_speaker_and_speed_but_not_the_crop(toy_data):
    settings = {**SETTINGS, "sampling": {"crop_s": 0.5, "speeds": [1.0, 0.9], "views": 2}}
    config = config_io.from_mapping(ExperimentConfig, settings, "test")
    dataset = TrainCorpus.load(toy_data / "train").waveform_dataset(
        config, Augmenter(config.augment, [], [], 16000)
    )
    for draw in range(8):
        (first, label), (second, other) = (dataset[CropKey(0, draw, 5, view)] for view in (0, 1))
        assert label == other
        assert not torch.equal(first, second)
