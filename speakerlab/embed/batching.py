"""Network calls on inputs of like length, which a thread makes ahead; results in the order of the inputs.

``for known, outcome in embedded(inputs, session, batch_size=8)``: an embedding [E], or why there is none.
Lengths are masked, so that batching changes nothing. The inputs that wait are bounded in number and in the
values they hold, however long the list is; one that is larger than a batch may be goes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from speakerlab.embed.prefetch import prefetched
from speakerlab.embed.session import Session
from speakerlab.errors import AudioError
from speakerlab.types import Float32Array

WINDOW_BATCHES = 8  # so many batches are made together and sorted by length
MAX_VALUES = 1 << 21  # in a padded batch: four minutes of 80 mels, two of samples; networks need far more
MAX_WINDOW_VALUES = 4 * MAX_VALUES

K = TypeVar("K")
Outcome = Float32Array | AudioError


@dataclass(frozen=True)
class Input(Generic[K]):
    """What a network is to embed.

    Attributes:
        name: utterance id, for messages.
        origin: where it comes from, for messages.
        known: whatever the caller wants back beside the outcome.
        values: model input, frames or samples first, or why there is none.
    """

    name: str
    origin: str
    known: K
    values: Float32Array | AudioError


def embedded(inputs: Iterable[Input[K]], session: Session, batch_size: int) -> Iterator[tuple[K, Outcome]]:
    """Each input's ``known`` and its embedding [E], or an error where it has none or one of NaN or Inf."""
    for window in prefetched(_windows(inputs, batch_size), depth=1):
        yield from zip([one.known for one in window], _embed(window, session, batch_size), strict=True)


def _windows(inputs: Iterable[Input[K]], batch_size: int) -> Iterator[list[Input[K]]]:
    """Neighbours whose features are held at the same time; one by one without batches to sort for."""
    size = WINDOW_BATCHES * batch_size if batch_size > 1 else 1
    window: list[Input[K]] = []
    values = 0
    for one in inputs:
        window.append(one)
        values += 0 if isinstance(one.values, AudioError) else one.values.size
        if len(window) == size or values >= MAX_WINDOW_VALUES:
            yield window
            window, values = [], 0
    if window:
        yield window


def _embed(window: Sequence[Input[K]], session: Session, batch_size: int) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    inputs: dict[int, Float32Array] = {}
    for place, one in enumerate(window):
        if isinstance(one.values, AudioError):
            outcomes[place] = one.values
        else:
            inputs[place] = one.values
    for batch in _batches({place: inputs[place].size for place in inputs}, batch_size):
        matrix = session.embed([inputs[place] for place in batch])
        for place, embedding in zip(batch, matrix, strict=True):
            outcomes[place] = _checked(window[place], embedding)
    return [outcomes[place] for place in range(len(window))]


def _batches(sizes: dict[int, int], batch_size: int) -> Iterator[list[int]]:
    """The keys of ``sizes``, the smallest first, in batches that hold few enough values once padded."""
    batch: list[int] = []
    for key in sorted(sizes, key=sizes.__getitem__):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * sizes[key] > MAX_VALUES):
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def _checked(one: Input[K], embedding: Float32Array) -> Outcome:
    if np.isfinite(embedding).all():
        return embedding
    return AudioError(one.name, f"{one.origin}: its embedding is NaN or Inf")
