"""Resumable parallel output: many workers write parts, one merge checks them and publishes a single scp.

``store = PartStore(out_dir, "embeddings", keys, {"model": model_hash}); store.check_or_claim()``, then each
worker does ``for part in store.pending(job, num_jobs): store.write(part, results)``; last ``store.merge()``.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from speakerlab.errors import AudioError, DataError
from speakerlab.io import atomic
from speakerlab.io.ark import ArkWriter
from speakerlab.io.states import States
from speakerlab.parallel import share

MAX_PART_SIZE = 500  # keys: what a killed worker loses at most
MIN_NUM_PARTS = 64  # where there are as many keys: enough for 64 jobs to share
FAILURES = "failures.tsv"
NUM_SHOWN = 20  # failures in the message; failures.tsv has all


@dataclass(frozen=True)
class Part:
    """A stretch of the sorted keys, written by one worker as one archive."""

    index: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class MergeSummary:
    """What ``merge`` published: ``scp`` lists ``num_done`` keys; ``num_failed`` are in ``failures.tsv``."""

    num_done: int
    num_failed: int
    scp: Path


class PartStore:
    """The output of a step in ``out_dir``: ``name.scp`` once merged, archives under ``parts/`` until then.

    How the keys are cut depends on nothing but their number. A part is ``parts/name.000012.ark``, ``.scp``
    and, if utterances failed, ``.failures`` (key, tab, reason); its scp is renamed last and commits it.
    ``parts/name.fingerprint`` states what all parts were made from. Only one run at a time may use a store.

    Args:
        out_dir: folder of the step's output.
        name: stem of all files.
        keys: every key that must come out, in any order.
        fingerprint: what the output depends on besides the keys, such as hashes of model and options.
        inputs: what each key is made from; each part keeps the states of its keys in ``.inputs``.

    Raises:
        DataError: no keys, or one given twice.
    """

    def __init__(
        self,
        out_dir: Path,
        name: str,
        keys: Sequence[str],
        fingerprint: Mapping[str, str],
        inputs: Sequence[States] = (),
    ) -> None:
        self._out_dir, self._name, self._folder = out_dir, name, out_dir / "parts"
        self._inputs = inputs
        self._scp, self._failures = out_dir / f"{name}.scp", out_dir / FAILURES
        ordered = sorted(keys)
        if not ordered:
            raise DataError(out_dir, "there are no keys to write")
        twice = next((key for key, after in itertools.pairwise(ordered) if key == after), None)
        if twice is not None:
            raise DataError(out_dir, f"{twice} is twice among the keys")
        digest = hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:16]
        self._fingerprint_path = self._folder / f"{name}.fingerprint"
        self._fingerprint = {**fingerprint, "keys": f"{len(ordered)}, sha256 {digest}"}
        self._num_keys = len(ordered)
        self.parts = _cut(ordered)

    def check_or_claim(self) -> None:
        """Make the store this run's, or make sure that it already is; every worker starts with it.

        Raises:
            DataError: the parts there were made from something else; the message names what changed.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        has_parts = any(True for _ in self._folder.glob(f"{self._name}.??????.scp"))  # before the claim
        if not self._fingerprint_path.exists():
            if has_parts:
                raise DataError(
                    self._folder, "the parts have no fingerprint", "start anew with --overwrite true"
                )
            self._claim()
        self._check()
        self._remove_leftovers()

    def pending(self, job: int, num_jobs: int) -> list[Part]:
        """The parts of 1-based ``job`` that are not there yet or hold failures, which may pass this time.

        Raises:
            DataError: a part that is there was made from something that has changed since.
        """
        mine = share(self.parts, job, num_jobs)
        todo = [p for p in mine if not self._is_published(p) or self._path(p, "failures").exists()]
        due = {part.index for part in todo}
        for part in mine:
            if part.index not in due:
                self._check_inputs(part)
        logging.info("%d of %d parts to do", len(todo), len(mine))
        return todo

    def write(self, part: Part, results: Iterable[tuple[str, npt.NDArray[Any] | AudioError]]) -> None:
        """Publish ``part``: for each of its keys, in any order, an array or the reason why there is none.

        The merged scp, if any, is withdrawn first: it points into the archive that is replaced.

        Raises:
            ValueError: ``results`` are not those of the part's keys, each once.
        """
        self._scp.unlink(missing_ok=True)
        self._path(part, "scp").unlink(missing_ok=True)
        states = "".join(  # before they are read: what changes meanwhile is noticed later
            f"{key}\t{source.name}\t{source.state(key)}\n" for key in part.keys for source in self._inputs
        )
        failures: dict[str, str] = {}
        written: list[str] = []
        with ArkWriter(self._path(part, "ark"), self._path(part, "scp")) as writer:
            for key, result in results:
                written.append(key)
                if isinstance(result, AudioError):
                    failures[key] = " ".join(result.why.split())
                else:
                    writer.write(key, result)
            if sorted(written) != list(part.keys):
                raise ValueError(f"part {part.index} has other keys than its results")
            _write_failures(self._path(part, "failures"), failures)
            if states:
                atomic.write_text(self._path(part, "inputs"), states)

    def merge(self, max_fail_rate: float = 0.0) -> MergeSummary:
        """Check that every key came out once and publish ``name.scp``, in key order, and ``failures.tsv``.

        Args:
            max_fail_rate: share of the keys that may have failed; the merged scp then lacks them.

        Raises:
            DataError: parts or keys are missing, the keys are not those the parts were made for, or too
                many failed; nothing is published then except ``failures.tsv``.
        """
        self._check(["keys"])
        self._scp.unlink(missing_ok=True)
        missing: list[str] = []
        failures: dict[str, str] = {}
        with atomic.open_text(self._scp) as stream:
            for part in self.parts:
                entries, failed = self._read(part)
                missing += [key for key in part.keys if key not in entries and key not in failed]
                stream.writelines(f"{key} {entries[key]}\n" for key in part.keys if key in entries)
                failures.update(failed)
            _write_failures(self._failures, failures)
            self._refuse_missing(missing)
            self._refuse_failures(failures, max_fail_rate)
        self._remove_leftovers()
        return MergeSummary(self._num_keys - len(failures), len(failures), self._scp)

    def _path(self, part: Part, suffix: str) -> Path:
        return self._folder / f"{self._name}.{part.index:06d}.{suffix}"

    def _is_published(self, part: Part) -> bool:
        return self._path(part, "scp").exists() and self._path(part, "ark").exists()

    def _claim(self) -> None:
        """Create the fingerprint whole and only if there is none: a hard link cannot replace a file."""
        worker = f"{platform.node().replace('.', '-')}-{os.getpid()}"
        temporary = self._folder / f".{self._fingerprint_path.name}.{worker}.tmp"
        temporary.write_text(json.dumps(self._fingerprint, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        try:
            self._fingerprint_path.hardlink_to(temporary)
        except (FileExistsError, FileNotFoundError):
            pass  # another worker was first and may have tidied up; what it claimed is checked next
        finally:
            temporary.unlink(missing_ok=True)

    def _check(self, names: Sequence[str] = ()) -> None:
        """Compare the fingerprint on disk with this run's, or only the values called ``names``."""
        try:
            found = json.loads(self._fingerprint_path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(self._out_dir, f"no parts of {self._name}", "run the workers first") from error
        own = self._fingerprint
        changed = [n for n in names or sorted(own.keys() | found.keys()) if own.get(n) != found.get(n)]
        if changed:
            values = ", ".join(f"{name} (was {found.get(name)}, is {own.get(name)})" for name in changed)
            why = f"the parts there were made from other {values}"
            raise DataError(
                self._fingerprint_path, why, "start anew with --overwrite true, or use another folder"
            )

    def _check_inputs(self, part: Part) -> None:
        """Refuse a part one of whose inputs is no longer what it was made from."""
        path = self._path(part, "inputs")
        if not path.exists():  # made by a version that did not keep them
            return
        sources = {source.name: source for source in self._inputs}
        for line in path.read_text(encoding="utf-8").splitlines():
            key, name, known = line.split("\t")
            if name in sources and sources[name].is_changed(key, known):
                why = f"{name} of {key} has changed since the output was made from it"
                fix = "start anew with --overwrite true, or use another folder"
                raise DataError(sources[name].where(key), why, fix)

    def _read(self, part: Part) -> tuple[dict[str, str], dict[str, str]]:
        """Archive entries and failures of ``part`` by key; none if it is not published."""
        if not self._is_published(part):
            return {}, {}
        entries = _read_pairs(self._path(part, "scp"), " ", part)
        path = self._path(part, "failures")
        failures = _read_pairs(path, "\t", part) if path.exists() else {}
        both = sorted(entries.keys() & failures.keys())
        if both:
            raise DataError(path, f"{both[0]} failed and has an array", "delete this part and run again")
        return entries, failures

    def _refuse_missing(self, missing: list[str]) -> None:
        if missing:
            why = f"{len(missing)} of {self._num_keys} keys are missing, the first {missing[0]}"
            raise DataError(self._folder, why, "a worker failed or was killed: see its log, then run again")

    def _refuse_failures(self, failures: Mapping[str, str], max_fail_rate: float) -> None:
        if len(failures) / self._num_keys <= max_fail_rate and len(failures) < self._num_keys:
            return
        shown = "".join(f"\n  {key}: {why}" for key, why in list(failures.items())[:NUM_SHOWN])
        rest = f"\n  and {len(failures) - NUM_SHOWN} more" if len(failures) > NUM_SHOWN else ""
        why = (
            f"{len(failures)} of {self._num_keys} failed; --max-fail-rate {max_fail_rate:g} does not allow it"
        )
        raise DataError(self._failures, f"{why}{shown}{rest}")

    def _remove_leftovers(self) -> None:
        """Delete temporary files of killed workers: those untouched since their file was published.

        A running worker's file is not published yet, whatever its host; no process table is needed.
        """
        for folder in (self._out_dir, self._folder):
            for temporary in folder.glob(f".{self._name}.*.tmp"):
                final = folder / temporary.name[1:].rsplit(".", 2)[0]
                with contextlib.suppress(FileNotFoundError):  # not published, or another worker tidies too
                    if temporary.stat().st_mtime < final.stat().st_mtime:
                        temporary.unlink()


def _cut(keys: Sequence[str]) -> list[Part]:
    """Parts of equal size: an MIN_NUM_PARTS-th of the keys, at most MAX_PART_SIZE."""
    size = min(-(-len(keys) // MIN_NUM_PARTS), MAX_PART_SIZE)
    return [Part(i, tuple(keys[start : start + size])) for i, start in enumerate(range(0, len(keys), size))]


def _read_pairs(path: Path, separator: str, part: Part) -> dict[str, str]:
    """Lines ``key separator value`` of one of the part's files, whose keys must be the part's, each once."""
    pairs: dict[str, str] = {}
    expected = set(part.keys)
    with path.open(encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            key, _, value = line.rstrip("\n").partition(separator)
            if key in pairs or key not in expected:
                why = f"{key} appears twice" if key in pairs else f"{key} does not belong to this part"
                raise DataError(path, why, "delete this part and run again", number)
            pairs[key] = value
    return pairs


def failures(out_dir: Path) -> dict[str, str]:
    """The keys that a step left out of its output in ``out_dir``, with the reasons."""
    path = out_dir / FAILURES
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: why for key, _, why in (line.partition("\t") for line in lines)}


def made_from(out_dir: Path, name: str) -> dict[str, str]:
    """What the parts of ``name`` in ``out_dir`` were made from, as ``PartStore`` was told.

    Raises:
        DataError: nothing says so, or it cannot be read.
    """
    path = out_dir / "parts" / f"{name}.fingerprint"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        why = f"nothing says what {name} were made from"
        raise DataError(path, why, "give the folder that the step wrote") from error


def _write_failures(path: Path, failures: Mapping[str, str]) -> None:
    """Publish ``key<TAB>reason`` lines in key order; no failures, no file."""
    if failures:
        atomic.write_text(path, "".join(f"{key}\t{why}\n" for key, why in sorted(failures.items())))
    else:
        path.unlink(missing_ok=True)
