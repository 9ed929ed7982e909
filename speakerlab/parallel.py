"""Dividing work among jobs: contiguous, balanced shares that depend on nothing but their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def share(items: Sequence[T], job: int, num_jobs: int) -> Sequence[T]:
    """The contiguous share of 1-based ``job`` among ``num_jobs``; shares differ by at most one item.

    Raises:
        ValueError: job is not in 1..num_jobs.
    """
    if not 1 <= job <= num_jobs:
        raise ValueError(f"job {job} is not in 1..{num_jobs}")
    size, extra = divmod(len(items), num_jobs)
    start = (job - 1) * size + min(job - 1, extra)
    return items[start : start + size + (job <= extra)]
