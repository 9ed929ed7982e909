"""Two processes train one model: equal weights, the mean of their gradients, and figures of both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.dataset import CropSampler
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.train.loop import Trainer

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 16},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 8], "embed_dim": 4},
    "sampling": {"crop_s": 0.5, "speeds": [1.0]},
    "optimizer": {"lr": 1e-12, "lr_final": 0.0, "warmup_epochs": 0.0, "grad_clip": 0.0},
    "train": {"epochs": 1, "batch_size": 16, "average": 1, "margin_epochs": [0, 0]},
}


def trainer_of(data, exp_dir, rank, world, *, alone=False):
    """The trainer of one process; ``alone`` on the crops of ``rank`` without the other."""
    config = config_io.from_mapping(ExperimentConfig, SETTINGS, "test")
    corpus = TrainCorpus.load(Path(data))
    dataset = corpus.waveform_dataset(config, Augmenter(config.augment, [], [], 16000))
    sampler = CropSampler(corpus.durations_s, config.sampling, 16, 0, rank=rank, world=world)
    torch.manual_seed(0)
    rank, world = (0, 1) if alone else (rank, world)
    return Trainer(config, dataset, sampler, Path(exp_dir), torch.device("cpu"), rank=rank, world=world)


def first_step(trainer):
    """Gradients of the first batch by parameter, with its loss and number of hits."""
    batch = next(iter(trainer.loader))
    trainer.parallel.train()
    loss, hits = trainer._step(batch.feats, batch.labels, 0)
    return {name: p.grad.clone() for name, p in trainer.criterion.named_parameters()}, float(loss), int(hits)


def work(data, exp_dir):
    """What each of two processes does under torchrun."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    trainer = trainer_of(data, exp_dir, rank, 2)
    grads, loss, hits = first_step(trainer)
    torch.save({"grads": grads, "loss": loss, "hits": hits}, Path(exp_dir) / f"{rank}.pt")
    trainer_of(data, exp_dir, rank, 2).run(None)


@pytest.fixture(scope="module")
def both(toy_data, tmp_path_factory):
    """What the two processes left, and their folder."""
    folder = tmp_path_factory.mktemp("two")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    done = subprocess.run(
        [sys.executable, *launcher, str(toy_data / "train"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)], folder


def test_the_gradient_of_two_processes_is_the_mean_of_theirs(both, toy_data, tmp_path):
    results, _ = both
    halves = [first_step(trainer_of(toy_data / "train", tmp_path, rank, 2, alone=True)) for rank in (0, 1)]
    for name, first in halves[0][0].items():
        second = halves[1][0][name]
        assert not torch.allclose(first, second, rtol=1e-3, atol=1e-9), (
            name
        )  # else the mean would show nothing
        for result in results:
            torch.testing.assert_close(result["grads"][name], (first + second) / 2, rtol=1e-4, atol=1e-6)
    for result, (_, loss, hits) in zip(results, halves, strict=True):
        assert result["loss"] == pytest.approx(loss, rel=1e-5)
        assert result["hits"] == hits


def test_the_figures_of_an_epoch_are_those_of_all_processes(both, toy_data, tmp_path):
    """With a learning rate of nothing, every batch is seen by the first weights."""
    _, folder = both
    record = json.loads((folder / "train.jsonl").read_text())
    losses, hits, crops = [], 0, 0
    for rank in (0, 1):
        trainer = trainer_of(toy_data / "train", tmp_path, rank, 2, alone=True)
        trainer.parallel.train()
        for step, batch in enumerate(trainer.loader):
            trainer._schedule(step / len(trainer.sampler))
            loss, found = trainer._step(batch.feats, batch.labels, step)
            losses.append(float(loss))
            hits += int(found)
            crops += len(batch.labels)
    assert record["crops"] == crops
    assert record["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert record["accuracy"] == pytest.approx(hits / crops)


if __name__ == "__main__":
    work(*sys.argv[1:])
