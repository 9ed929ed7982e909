"""Batches of several crops of each speaker, for the losses that compare crops with each other.

``views, speakers = split_views(embeddings, labels)``: [V * S, E] and [V * S] to [V, S, E] and [S], where the
batch is V blocks of crops of the same S speakers in the same order (``sampling.views: V``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_SCALE = 1e-3  # the trained factor w of a similarity must stay positive


def split_views(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The blocks of a batch, as many as it has, in float32 at least.

    Raises:
        ValueError: the batch is not two or more blocks of the same speakers in the same order.
    """
    order = labels.tolist()
    for size in range(1, len(order) // 2 + 1):
        if len(order) % size == 0 and order[size:] == order[:-size]:
            dtype = torch.promote_types(embeddings.dtype, torch.float32)
            return embeddings.to(dtype).view(-1, size, embeddings.shape[1]), labels[:size]
    raise ValueError("the batch is not several crops of each of its speakers; set sampling.views: 2 or more")


def mean_of_others(views: Tensor) -> Tensor:
    """[V, S, E]: the mean of each crop's V - 1 other views."""
    num_views = len(views)
    weights = (1 - torch.eye(num_views, dtype=views.dtype, device=views.device)) / (num_views - 1)
    return torch.einsum("vw,wse->vse", weights, views)


def twins(speakers: Tensor) -> Tensor:
    """[S, S], True where two columns are the same speaker, drawn twice: no error to be confused."""
    same = speakers[:, None] == speakers
    return same.fill_diagonal_(fill_value=False)


def class_scores(similarity: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """[B, N] of similarities [B, C] with something of classes [C]: the greatest of each class.

    The logits of a loss that compares crops: -inf for the classes the batch does not hold.
    """
    scores = similarity.new_full((len(similarity), num_classes), -math.inf)
    columns = classes.expand(len(similarity), -1)
    return scores.scatter_reduce(1, columns, similarity.detach(), "amax")
