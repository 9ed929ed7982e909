"""Training in two gloo processes whose losses or random numbers differ: clipping, checkpoints, resume."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.errors import DataError
from speakerlab.train import checkpoint
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.dataset import CropSampler
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.train.loop import Trainer, gradient_norm

ROOT = Path(__file__).parents[2]
WORLD, KILLED = 2, 9
SETTINGS = {
    "model": {"name": "tdnn", "channels": [16, 16, 16, 16, 32], "embed_dim": 8},
    "loss": {"name": "partial_fc", "sample_rate": 0.6},
    "sampling": {"crop_s": 0.5, "speeds": [1.0, 0.9]},
    "train": {"epochs": 4, "batch_size": 8, "average": 2, "margin_epochs": [0, 0]},
    # so tight that every step is clipped
    "optimizer": {"lr": 0.5, "warmup_epochs": 0.0, "grad_clip": 1.0},
}


def make_trainer(data, exp_dir, *, rank=0, world=1, num_workers=0, loss=SETTINGS["loss"]):
    config = config_io.from_mapping(ExperimentConfig, {**SETTINGS, "loss": loss}, "test")
    corpus = TrainCorpus.load(data)
    dataset = corpus.waveform_dataset(config, Augmenter(config.augment, [], [], 16000))
    sampler = CropSampler(corpus.durations_s, config.sampling, 8, config.seed, rank=rank, world=world)
    torch.manual_seed(config.seed)
    place = {"num_workers": num_workers, "rank": rank, "world": world}
    trainer = Trainer(config, dataset, sampler, exp_dir, torch.device("cpu"), **place)
    torch.manual_seed(rank)  # as in a real run, where rank 0 alone loads a validation set
    return trainer


def meet(rank, path):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=WORLD)


def die_in_the_third_epoch(rank, data, root):
    """Rank 0 is gone when the other's part of the third epoch is there, and its own not yet."""
    meet(rank, root / "meet-killed")
    trainer = make_trainer(data, root / "killed", rank=rank, world=WORLD)

    def validate(_model):
        if trainer.epoch == 3:
            os._exit(KILLED)
        return 0.5

    trainer.run(validate)


def drop(_model, arguments):
    """Dropout of the features, as an SSL encoder has inside."""
    return nn.functional.dropout(arguments[0], 0.5), *arguments[1:]


def train_with_dropout(rank, data, root):
    """A run of a loss that is the same in both processes, and its last epoch once more."""
    meet(rank, root / "meet-dropout")
    for name in ("dropped", "redropped"):
        trainer = make_trainer(data, root / name, rank=rank, world=WORLD, loss={"name": "aam_softmax"})
        trainer.model.register_forward_pre_hook(drop)
        trainer.resume()
        trainer.run(None)
        if rank == 0 and name == "dropped":
            shutil.copytree(root / "dropped", root / "redropped")
            checkpoint.path_of(root / "redropped", 4).unlink()
        distributed.barrier()
    distributed.destroy_process_group()


def train(rank, data, root):
    """An uninterrupted run; the killed one to its end; norms and refusals, in ``rankR.json``."""
    meet(rank, root / "meet")
    make_trainer(data, root / "straight", rank=rank, world=WORLD, num_workers=1).run(None)
    resumed = make_trainer(data, root / "killed", rank=rank, world=WORLD)
    resumed.resume()
    first = resumed.epoch
    resumed.run(None)
    shared, shard = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    shared.grad, shard.grad = torch.tensor([3.0, 0.0]), torch.tensor([(4.0, 12.0)[rank]])
    norm = gradient_norm([shared, shard], [shard]).item()
    try:
        make_trainer(data, root / "alone", rank=rank, world=WORLD).resume()
    except DataError as error:
        refusal = str(error)
    (root / f"rank{rank}.json").write_text(json.dumps({"first": first, "norm": norm, "refusal": refusal}))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def runs(toy_data, tmp_path_factory):
    """``alone`` of one process, ``killed`` (as the kill left it: ``left``) and ``straight`` of two."""
    root = tmp_path_factory.mktemp("sharded")
    data = toy_data / "train"
    make_trainer(data, root / "alone").run(None)
    with pytest.raises(multiprocessing.ProcessExitedException) as death:
        multiprocessing.spawn(die_in_the_third_epoch, args=(data, root), nprocs=WORLD)
    assert death.value.exit_code == KILLED
    left = sorted(path.name for path in (root / "killed" / "checkpoints").iterdir())
    (root / "left.json").write_text(json.dumps(left))
    multiprocessing.spawn(train, args=(data, root), nprocs=WORLD)
    return root


def found(runs, rank):
    return json.loads((runs / f"rank{rank}.json").read_text())


def records(exp_dir):
    return [json.loads(line) for line in (exp_dir / "train.jsonl").read_text().splitlines()]


def assert_equal(a, b):
    """Nested states, tensors to the bit."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list):
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert a == b


@pytest.mark.parametrize("name", ["alone", "straight"])
def test_the_loss_falls_and_there_is_no_accuracy(runs, name):
    lines = records(runs / name)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert {line["accuracy"] for line in lines} == {None}


def test_every_process_has_its_own_centres_and_the_same_network(runs):
    path = checkpoint.finished(runs / "straight")[-1]
    first, second = (checkpoint.load(path, rank) for rank in range(WORLD))
    assert first["loss"]["_extra_state"] == {"first": 0, "end": 8, "num_classes": 16}
    assert second["loss"]["_extra_state"] == {"first": 8, "end": 16, "num_classes": 16}
    assert not torch.isclose(first["loss"]["weight"], second["loss"]["weight"]).all(1).any()
    for key, value in first["model"].items():
        if "running_" not in key:  # BatchNorm statistics are rank 0's
            assert torch.equal(value, second["model"][key]), key


def test_the_norm_is_of_the_whole_gradient(runs):
    assert [found(runs, rank)["norm"] for rank in range(WORLD)] == [13.0, 13.0]  # 3, 4 and 12


def test_a_run_killed_between_the_files_of_an_epoch_resumes_after_the_one_before(runs):
    two = [f"epoch_{epoch:04d}{part}.pt" for epoch in (1, 2) for part in ("", ".rank1")]
    assert json.loads((runs / "left.json").read_text()) == [*two, "epoch_0003.rank1.pt"]
    assert [found(runs, rank)["first"] for rank in range(WORLD)] == [2, 2]


def test_killed_and_resumed_equals_uninterrupted(runs):
    for rank in range(WORLD):
        states = [
            checkpoint.load(checkpoint.path_of(runs / name, 4), rank) for name in ("straight", "killed")
        ]
        assert_equal(*states)
    losses = [[line["loss"] for line in records(runs / name)] for name in ("straight", "killed")]
    assert losses[0] == losses[1]


def test_dropout_of_every_process_goes_on_where_it_was(toy_data, tmp_path):
    multiprocessing.spawn(train_with_dropout, args=(toy_data / "train", tmp_path), nprocs=WORLD)
    states = [checkpoint.load(checkpoint.path_of(tmp_path / name, 4)) for name in ("dropped", "redropped")]
    assert_equal(*states)
    first, second = states[0]["random"]
    assert not torch.equal(first["cpu"], second["cpu"])


def test_old_checkpoints_go_with_their_parts(runs):
    names = sorted(path.name for path in (runs / "killed" / "checkpoints").iterdir())
    assert names == [f"epoch_{epoch:04d}{part}.pt" for epoch in (3, 4) for part in ("", ".rank1")]
    assert [path.name for path in checkpoint.finished(runs / "killed")] == names[::2]
    assert sorted(path.name for path in (runs / "alone" / "checkpoints").iterdir()) == names[::2]


def test_other_numbers_of_processes_are_refused(runs, toy_data):
    more = [found(runs, rank)["refusal"] for rank in range(WORLD)]
    path = checkpoint.path_of(runs / "alone", 4)
    assert more == [
        f"{path}: the checkpoint holds classes 0 to 16 of 16, this process 0 to 8 of 16; "
        "resume with as many processes as wrote it",
        f"{path.with_suffix('')}.rank1.pt: missing; resume with as many processes as wrote epoch_0004.pt",
    ]
    with pytest.raises(DataError, match="holds classes 0 to 8 of 16, this process 0 to 16 of 16; resume"):
        make_trainer(toy_data / "train", runs / "straight").resume()


def test_one_process_resumed_equals_uninterrupted(runs, toy_data, tmp_path):
    class StopError(Exception):
        pass

    def stop_in_the_third_epoch(_model):
        if (tmp_path / "checkpoints" / "epoch_0002.pt").exists():
            raise StopError
        return 0.5

    with pytest.raises(StopError):
        make_trainer(toy_data / "train", tmp_path).run(stop_in_the_third_epoch)
    resumed = make_trainer(toy_data / "train", tmp_path, num_workers=1)
    resumed.resume()
    assert resumed.epoch == 2
    resumed.run(None)
    assert_equal(*(checkpoint.load(checkpoint.path_of(exp_dir, 4)) for exp_dir in (runs / "alone", tmp_path)))


def test_a_damaged_part_is_named_with_the_file_to_delete(tmp_path):
    checkpoint.save_part(tmp_path, 1, 1, {})
    checkpoint.save(tmp_path, 1, {}, keep=1)
    path = checkpoint.path_of(tmp_path, 1)
    checkpoint.part_of(path, 1).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"epoch_0001.rank1.pt: cannot be read .*; delete epoch_0001.pt to"):
        checkpoint.load(path, 1)


def test_the_command_trains_in_two_processes_and_refuses_to_go_on_in_one(toy_data, tmp_path):
    settings = tmp_path / "config.yaml"
    settings.write_text(json.dumps({**SETTINGS, "train": {**SETTINGS["train"], "epochs": 2}}))
    data = ["--config", str(settings), "--device", "cpu", "--valid-data", str(toy_data / "test")]
    command = ["-m", "speakerlab.bin.train", *data, str(toy_data / "train"), str(tmp_path / "exp")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*launcher):
        arguments = [sys.executable, *launcher, *command]
        return subprocess.run(arguments, env=env, cwd=ROOT, capture_output=True, text=True, check=False)

    done = run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORLD))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "accuracy" not in done.stderr
    assert [line["epoch"] for line in records(tmp_path / "exp")] == [1, 2]
    average = ["-m", "speakerlab.bin.average_checkpoints", str(tmp_path / "exp"), str(tmp_path / "model")]
    subprocess.run([sys.executable, *average], env=env, cwd=ROOT, check=True)
    alone = run()
    assert alone.returncode == 1
    assert alone.stderr.splitlines()[-1].endswith(
        "epoch_0002.pt: the checkpoint holds classes 0 to 8 of 16, this process 0 to 16 of 16; "
        "resume with as many processes as wrote it"
    )
    assert "Traceback" not in alone.stderr
