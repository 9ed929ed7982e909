"""Utterances that a training run found unusable: counted against a limit and listed in ``failures.tsv``.

``failures = Failures(exp_dir, num_utterances, 0.01)``; ``failures.add({"utt1": "no such file"})``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.io.parts import FAILURES


class Failures:
    """The unusable utterances of one run, in this process.

    Args:
        exp_dir: where the list is written.
        num_utterances: of the run.
        max_fail_rate: share of them that may be unusable.
        is_writer: whether this process writes the list.
    """

    def __init__(
        self, exp_dir: Path, num_utterances: int, max_fail_rate: float, *, is_writer: bool = True
    ) -> None:
        self._path, self._num_utterances, self._max_fail_rate = (
            exp_dir / FAILURES,
            num_utterances,
            max_fail_rate,
        )
        self._is_writer = is_writer
        self.reasons: dict[str, str] = {}

    def add(self, found: Mapping[str, str]) -> None:
        """Count utterances with the reason why they cannot be used.

        Raises:
            DataError: too many utterances of the run are unusable.
        """
        new = {utt_id: why for utt_id, why in found.items() if utt_id not in self.reasons}
        if not new:
            return
        self.reasons.update(new)
        for utt_id, why in new.items():
            logging.warning("%s: %s; other utterances take its crops", utt_id, why)
        if self._is_writer:
            text = "".join(f"{utt_id}\t{why}\n" for utt_id, why in sorted(self.reasons.items()))
            atomic.write_text(self._path, text)
        if len(self.reasons) > self._max_fail_rate * self._num_utterances:
            utt_id, why = next(iter(new.items()))
            share = f"{len(self.reasons)} of {self._num_utterances} utterances cannot be used"
            fix = "mend them, or allow more with --max-fail-rate, and run the same command again"
            raise DataError(self._path, f"{share}, the last {utt_id}: {why}", fix)

    def gather(self, world: int) -> None:
        """Share what the processes found.

        Raises:
            DataError: see ``add``.
        """
        if world > 1:
            found: list[dict[str, str]] = [{}] * world
            torch.distributed.all_gather_object(found, self.reasons)
            for one in found:
                self.add(one)
