"""The training loop: plain torch, one process or several (torchrun), exact to resume.

``Trainer(config, dataset, sampler, exp_dir, device).run(validate)`` leaves
``checkpoints/epoch_NNNN.pt`` and ``train.jsonl``, one JSON line per epoch, in ``exp_dir``. A loss may name
parameters that differ between the processes in ``SHARDED``; then each process saves its own checkpoint.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from speakerlab import logs
from speakerlab.errors import ConfigError, DataError, SpeakerLabError
from speakerlab.io import atomic
from speakerlab.train import checkpoint, schedule
from speakerlab.train.dataset import CropDataset, CropSampler, collate
from speakerlab.train.experiment import ExperimentConfig, OptimizerConfig
from speakerlab.train.failures import Failures

LOG = "train.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """One line of ``train.jsonl``.

    ``accuracy`` is None with a loss that scores no classes, ``valid_eer`` without a validation set.
    """

    epoch: int
    loss: float
    accuracy: float | None
    lr: float
    margin: float
    valid_eer: float | None
    crops: int
    train_s: float


class Criterion(nn.Module):
    """Network and loss as one module, so that DistributedDataParallel sees every parameter."""

    def __init__(self, config: ExperimentConfig, feat_dim: int, num_classes: int) -> None:
        super().__init__()
        self.model: nn.Module = config.model.build(feat_dim=feat_dim)
        self.loss: nn.Module = config.loss.build(embed_dim=self.model.embed_dim, num_classes=num_classes)

    def set_margin(self, margin: float) -> None:
        """Pass the margin of the schedule to the loss."""
        cast("Callable[[float], None]", self.loss.set_margin)(margin)

    def forward(self, feats: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mean loss of the batch and number of crops whose speaker was found, for [B, T, F] and [B].

        The number is None if the loss gives no logits.
        """
        loss, logits = self.loss(self.model(feats), labels)
        return loss, None if logits is None else (logits.detach().argmax(1) == labels).sum()


def make_optimizer(settings: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of ``settings``; the learning rate is set before every step.

    Biases and normalisation weights are not decayed: pulling a scale to 0 regularises nothing.
    """
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0)
    return torch.optim.AdamW(groups, lr=settings.lr)


def distribute(criterion: Criterion, sharded: Sequence[str]) -> nn.Module:
    """``criterion`` with averaged gradients, all but those of the ``sharded`` parameters of its loss."""
    if sharded:
        # Private, but torch has no other way to leave a parameter of the wrapped module out.
        nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            criterion, [f"loss.{name}" for name in sharded]
        )
    return nn.parallel.DistributedDataParallel(criterion)


def gradient_norm(parameters: Iterable[nn.Parameter], shards: Sequence[nn.Parameter]) -> torch.Tensor:
    """Norm of the whole gradient: that of ``shards`` differs between the processes, the rest is equal.

    It is the same in every process, so that all clip by the same factor.
    """
    own = {id(shard) for shard in shards}
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None and id(p) not in own])
    if not shards:
        return norm
    square = nn.utils.get_total_norm([p.grad for p in shards if p.grad is not None]).square()
    torch.distributed.all_reduce(square)
    return (norm.square() + square).sqrt()


def _scored(hits: torch.Tensor | None, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many crops of a batch were found, and of how many that is known."""
    if hits is None:
        return torch.zeros(()), torch.zeros(())
    return hits, hits.new_tensor(size)


class Trainer:
    """Runs the epochs of one experiment; see the module for what it leaves."""

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: CropDataset,
        sampler: CropSampler,
        exp_dir: Path,
        device: torch.device,
        *,
        num_workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.failures = Failures(
            exp_dir, len(dataset.spk_classes), dataset.max_fail_rate, is_writer=rank == 0
        )
        self.config, self.sampler, self.exp_dir, self.device = config, sampler, exp_dir, device
        self.rank, self.world = rank, world
        frontend = config.frontend.build()
        self.feat_dim = int(frontend.dim)
        self.criterion = Criterion(config, self.feat_dim, dataset.num_classes).to(device)
        frames = frontend.num_frames(round(config.sampling.crop_s * frontend.sample_rate))
        if frames < self.model.min_frames:
            why = f"crop_s: {frames} frames of features; the network needs {self.model.min_frames}"
            raise ConfigError("sampling", [why])
        rate = getattr(self.model, "sample_rate", None)
        if rate not in (None, frontend.sample_rate):
            raise ConfigError(
                "frontend", [f"sample_rate: {frontend.sample_rate}; the encoder takes {rate} Hz"]
            )
        sharded: Sequence[str] = getattr(self.criterion.loss, "SHARDED", ()) if world > 1 else ()
        self.shards = [self.criterion.loss.get_parameter(name) for name in sharded]
        self.parallel = distribute(self.criterion, sharded) if world > 1 else self.criterion
        self.optimizer = make_optimizer(config.optimizer, self.criterion.parameters())
        self.epoch = 0  # finished epochs
        self.loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
            # Each loader iterator draws a seed, persistent workers only in their first epoch: from the
            # default generator, which dropout and sampling losses use, a resumed run would draw once more.
            generator=torch.Generator(),
        )

    @property
    def model(self) -> nn.Module:
        """The network being trained."""
        return self.criterion.model

    def resume(self) -> None:
        """Go on from the newest checkpoint in ``exp_dir`` that can be read, if there is one.

        Raises:
            DataError: none can be read, or the loss was sharded over another number of processes.
        """
        found = checkpoint.finished(self.exp_dir)
        while found:
            state = self._load(found, self.rank if self.shards else 0)
            if state is not None:
                self._go_on(found[-1], state)
                return
            found.pop()

    def _load(self, found: Sequence[Path], rank: int) -> dict[str, Any] | None:
        """The state in the last of ``found``; None where a process cannot read its part of it."""
        state: dict[str, Any] | None = None
        error: DataError | None = None
        try:
            state = checkpoint.load(found[-1], rank)
        except DataError as caught:
            error = caught
        is_last = len(found) == 1 or not isinstance(error, checkpoint.DamagedError | None)
        worst = torch.tensor(2 if error is None else 0 if is_last else 1, device=self.device)
        if self.world > 1:  # all go back together
            torch.distributed.all_reduce(worst, torch.distributed.ReduceOp.MIN)
        if worst == 0:  # who has no error goes on to what follows, where the others will be missed
            if error is not None:
                raise error
            return state
        if error is not None:
            logging.warning("%s: %s; going back to %s", error.path, error.why, found[-2].name)
        return state if worst == 2 else None

    def _go_on(self, path: Path, state: dict[str, Any]) -> None:
        self.criterion.model.load_state_dict(state["model"])
        try:
            self.criterion.loss.load_state_dict(state["loss"])
        except ValueError as error:  # it was sharded differently
            raise DataError(path, str(error), "resume with as many processes as wrote it") from error
        self.optimizer.load_state_dict(state["optimizer"])
        random = state["random"][self.rank % len(state["random"])]
        torch.set_rng_state(random["cpu"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)
        self.epoch = int(state["epoch"])
        logging.info("resumed after epoch %d from %s", self.epoch, path)

    def run(self, validate: Callable[[nn.Module], float] | None) -> None:
        """Train until ``config.train.epochs`` are done; ``validate`` gives an EER after each."""
        while self.epoch < self.config.train.epochs:
            record = self._train_epoch()
            state = self._state()
            if self.shards:
                self._save_part(state)
            if self.rank == 0:
                valid_eer = validate(self.model) if validate else None
                self._publish(EpochRecord(**{**asdict(record), "valid_eer": valid_eer}), state)
            if self.world > 1:  # nobody starts the next epoch on a half-written one
                torch.distributed.barrier()

    def _train_epoch(self) -> EpochRecord:
        start = time.monotonic()
        self.sampler.epoch = self.epoch
        self.parallel.train()
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)  # loss, found, scored, crops
        lr = margin = 0.0
        steps = len(self.sampler)
        batches = logs.progress(self.loader, f"epoch {self.epoch + 1}/{self.config.train.epochs}", steps)
        for step, batch in enumerate(batches):
            if isinstance(batch, SpeakerLabError):
                raise batch
            self.failures.add(batch.failures)
            lr, margin = self._schedule(self.epoch + step / steps)
            loss, hits = self._step(batch.feats, batch.labels, step)
            size = len(batch.labels)
            sums += torch.stack([loss.double(), *_scored(hits, size), loss.new_tensor(size)])
        if self.world > 1:
            torch.distributed.all_reduce(sums)
        self.failures.gather(self.world)
        self.epoch += 1
        loss_sum, found, scored, crops = sums.tolist()
        return EpochRecord(
            self.epoch,
            loss_sum / (steps * self.world),
            found / scored if scored else None,
            lr,
            margin,
            None,
            int(crops),
            round(time.monotonic() - start, 2),
        )

    def _schedule(self, epoch: float) -> tuple[float, float]:
        train = self.config.train
        lr = schedule.learning_rate(self.config.optimizer, epoch, train.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        target = float(getattr(self.config.loss.config, "margin", 0.0))
        margin = schedule.margin(target, epoch, train.margin_epochs)
        self.criterion.set_margin(margin)
        return lr, margin

    def _step(
        self, feats: torch.Tensor, labels: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        feats = feats.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        bf16 = self.config.train.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            loss, hits = self.parallel(feats, labels)
        if not torch.isfinite(loss):
            raise SpeakerLabError(
                f"loss is {loss.item()} in epoch {self.epoch + 1}, batch {step + 1}, of features up to "
                f"{feats.abs().max().item():.3g}; lower optimizer.lr"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.optimizer.grad_clip > 0:
            norm = gradient_norm(self.criterion.parameters(), self.shards)
            nn.utils.clip_grads_with_norm_(self.criterion.parameters(), self.config.optimizer.grad_clip, norm)
        self.optimizer.step()
        return loss.detach(), hits

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.criterion.model.state_dict(),
            "loss": self.criterion.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self._random_states(),
            "epoch": self.epoch,
        }

    def _random_states(self) -> list[dict[str, torch.Tensor]]:
        """State of the generators of every process, by rank: each draws dropout of its own."""
        own = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(self.device)
        states = [own] * self.world
        if self.world > 1:
            torch.distributed.all_gather_object(states, own)
        return states

    def _save_part(self, state: dict[str, Any]) -> None:
        if self.rank > 0:
            checkpoint.save_part(self.exp_dir, self.epoch, self.rank, state)
        torch.distributed.barrier()  # rank 0's file says that those of the others are there

    def _publish(self, record: EpochRecord, state: dict[str, Any]) -> None:
        log = self.exp_dir / LOG
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        kept = [line for line in lines if json.loads(line)["epoch"] < record.epoch]
        atomic.write_text(log, "\n".join([*kept, json.dumps(asdict(record))]) + "\n")
        checkpoint.save(self.exp_dir, record.epoch, state, keep=self.config.train.average)
        accuracy = "" if record.accuracy is None else f" accuracy {record.accuracy:.3f}"
        eer = "" if record.valid_eer is None else f" valid EER {100 * record.valid_eer:.2f} %"
        logging.info(
            "epoch %d/%d loss %.3f%s%s lr %.4g margin %.2f, %.0f crops/s",
            record.epoch,
            self.config.train.epochs,
            record.loss,
            accuracy,
            eer,
            record.lr,
            record.margin,
            record.crops / record.train_s,
        )
