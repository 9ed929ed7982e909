"""AAM-softmax for 10^5 to 10^6 classes: centres sharded over the processes, wrong classes sampled.

``loss, _ = PartialFc(PartialFcConfig(), embed_dim=192, num_classes=1_000_000)(embeddings, labels)`` in every
process of ``torch.distributed``, or in a single one without it.
An et al., "Partial FC", arXiv 2010.05222; An et al., "Killing two birds with one stone", arXiv 2203.15565.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, distributed, nn

from speakerlab.nn.losses.cosine_classifier import cosines, widen_angle
from speakerlab.nn.losses.margin import MarginConfig, WithMargin
from speakerlab.registry import register


@dataclass(frozen=True)
class PartialFcConfig(MarginConfig):
    """Settings of ``partial_fc``; the margin is in radians.

    Attributes:
        sample_rate: r, the share of the classes in each step's softmax, those of the batch among them.
    """

    MAX_MARGIN: ClassVar[float] = math.pi / 2
    sample_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sample_rate <= 1:
            raise ValueError("sample_rate: must be in (0, 1]")


@register("loss")
class PartialFc(WithMargin):
    """The loss of ``AamSoftmax`` over the whole batch of all processes, with a part of the classes.

    Each process holds the centres of N / W consecutive classes, one row each, and computes their cosines
    with the embeddings of all processes: [W * B, r * N / W], the largest tensor besides the centres and
    their gradient. The classes of the batch are always among the sampled.

    ``loss.backward()`` gives the gradient of the mean loss of all W * B crops: to the rows of ``weight`` as
    it is, to the embeddings times W, because DistributedDataParallel divides by W what it sums over the
    replicas of the network. ``weight`` differs between the processes and must be kept out of that averaging:
    ``SHARDED`` names it.

    Args:
        config: margin, scale, sampling rate.
        embed_dim: E of the embeddings.
        num_classes: number of training speakers N.

    Raises:
        ValueError: fewer classes than processes.
    """

    Config = PartialFcConfig
    config: PartialFcConfig
    SHARDED: ClassVar[tuple[str, ...]] = ("weight",)  # parameters of which each process has its own part

    def __init__(self, config: PartialFcConfig, embed_dim: int, num_classes: int) -> None:
        super().__init__(config)
        world, rank = _world(), _rank()
        if num_classes < world:
            raise ValueError(f"partial_fc: {num_classes} classes cannot be shared by {world} processes")
        bounds = [num_classes * part // world for part in range(world + 1)]
        self.num_classes, self.first, self.end = num_classes, bounds[rank], bounds[rank + 1]
        limit = math.sqrt(6 / (num_classes + embed_dim))  # Xavier, as for a whole matrix
        for part in range(world):  # all draw all parts: equal generators stay equal, and no two parts are
            rows = torch.empty(bounds[part + 1] - bounds[part], embed_dim).uniform_(-limit, limit)
            if part == rank:
                self.weight = nn.Parameter(rows)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, None]:
        """Embeddings [B, E] and int64 labels [B] of this process to the mean loss over all processes.

        B must be the same in every process. There are no logits [B, N]: most classes have no score.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            dtype = torch.promote_types(embeddings.dtype, torch.float32)
            everyone: Tensor = _Gather.apply(embeddings.to(dtype))  # type: ignore[no-untyped-call]
            everyones = _gather(labels)
            rows = ((everyones >= self.first) & (everyones < self.end)).nonzero().squeeze(1)
            wanted = everyones[rows] - self.first
            classes = self._sample(wanted)
            cosine = cosines(everyone, self.weight.index_select(0, classes))
            columns = torch.searchsorted(classes, wanted)
            loss = self._cross_entropy(cosine, rows, columns)
        return loss, None

    def _sample(self, wanted: Tensor) -> Tensor:
        """Sorted local classes [M] of this step: those of ``wanted``, and others at random up to the rate."""
        size = self.end - self.first
        if self.config.sample_rate == 1:
            return torch.arange(size, device=wanted.device)
        priority = torch.rand(size, device=wanted.device)
        priority[wanted] = 2.0
        count = max(math.ceil(self.config.sample_rate * size), int((priority == 2.0).sum()))
        return priority.topk(count).indices.sort().values

    def _cross_entropy(self, cosine: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Mean over all rows of log sum exp - target, both summed over the processes.

        Args:
            cosine: [W * B, M] with this process' sampled classes.
            rows: those whose class this process holds.
            columns: its place among the sampled, for each of ``rows``.
        """
        scale = self.config.scale
        target = scale * widen_angle(cosine[rows, columns], self.margin)
        logits = (scale * cosine).index_put((rows, columns), target)
        local = logits.logsumexp(1)
        peak = _reduce(local.detach(), distributed.ReduceOp.MAX)
        targets = torch.zeros_like(local).index_put((rows,), target)
        parts = torch.stack([(local - peak).exp(), targets])
        sums: Tensor = _Sum.apply(parts)  # type: ignore[no-untyped-call]
        return (sums[0].log() + peak - sums[1]).mean()

    def get_extra_state(self) -> dict[str, int]:
        """Which classes a checkpoint's rows are: another process' rows would fit, and be wrong."""
        return {"first": self.first, "end": self.end, "num_classes": self.num_classes}

    def set_extra_state(self, state: Any) -> None:
        """Check that a checkpoint is of this process' classes.

        Raises:
            ValueError: it is not.
        """
        if state != self.get_extra_state():
            raise ValueError(
                f"the checkpoint holds classes {state['first']} to {state['end']} of {state['num_classes']}, "
                f"this process {self.first} to {self.end} of {self.num_classes}"
            )


def _world() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _gather(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks."""
    if _world() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(_world())]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def _reduce(values: Tensor, operation: distributed.ReduceOp.RedOpType) -> Tensor:
    """The element-wise sum or maximum over the processes."""
    values = values.clone()
    if _world() > 1:
        distributed.all_reduce(values, operation)
    return values


class _Gather(torch.autograd.Function):
    """As ``_gather``; backward: what all processes want of this one's rows, times W (see ``PartialFc``)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ARG004
        return _gather(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        return _reduce(grads[0], distributed.ReduceOp.SUM).chunk(_world())[_rank()] * _world()


class _Sum(torch.autograd.Function):
    """The sum over the processes; backward: the same for each, as all go on to compute the same loss."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        return _reduce(values, distributed.ReduceOp.SUM)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        return grads[0]
