"""Published models on this machine: fetched once, converted, kept as bundles with their waveform graphs.

``cache = ModelCache(user_cache())``; ``cache.load(published.TABLE["campplus"])`` -> Bundle;
``cache.graph(entry)`` -> path of its checked graph, or None. In FOLDER/models/NAME lie the checkpoint and,
for each version of what is made of it, a bundle; each appears only when it is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from speakerlab import __version__, logs
from speakerlab.cache import CHOOSE
from speakerlab.errors import ConfigError, DataError, SpeakerLabError
from speakerlab.hub import download, onnx_file, published
from speakerlab.hub.published import Published
from speakerlab.io import atomic

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle

GRAPH = "waveform.onnx"
_FAILED = "waveform.failed"  # the exporter of this version cannot: not tried at every call
_EXPORTERS = ("torch", "onnx", "onnxscript", "onnxruntime")


class ModelCache:
    """The models in ``folder``; several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "models"

    def path(self, entry: Published) -> Path:
        """The folder of its bundle, be it there or not."""
        return self._folder / entry.name / _key(entry)

    def load(self, entry: Published) -> Bundle:
        """The model, fetched if it is not here; a damaged one is made anew.

        Raises:
            SpeakerLabError: no source has it.
            DataError: the cache cannot be written.
        """
        from speakerlab.hub import bundle  # and torch with it

        path = self.path(entry)
        if path.is_dir():
            try:
                return bundle.load(path)
            except (DataError, ConfigError) as error:
                logging.warning("%s; it is made anew", error)
        self._make(entry)
        return bundle.load(path)

    def graph(self, entry: Published) -> Path | None:
        """Its waveform graph, made if it is not here; None where the exporter is not installed, or fails.

        Raises:
            SpeakerLabError: see ``load``.
        """
        graph = self.path(entry) / GRAPH
        if _is_sealed(graph):
            return graph
        if not _can_export() or (graph.with_name(_FAILED).exists() and not graph.exists()):
            return None
        loaded = self.load(entry)  # which makes the graph too where it makes the bundle
        if not _is_sealed(graph):
            self._add_graph(entry, loaded, graph)
        return graph if _is_sealed(graph) else None

    def _add_graph(self, entry: Published, loaded: Bundle, graph: Path) -> None:
        """Make the graph of a bundle that is kept already, if the cache can be written."""
        if not os.access(graph.parent, os.W_OK):  # before a minute of work that could not be kept
            logging.warning("no graph is kept: %s cannot be written", graph.parent)
            return
        try:
            with self._locked(entry):
                if not _is_sealed(graph):
                    _export(loaded, graph)
        except DataError as error:
            logging.warning("no graph is kept: %s", error)

    def _make(self, entry: Published) -> None:
        """Publish the bundle of ``entry`` and its graph together, unless another process just did."""
        from speakerlab.hub import bundle

        path = self.path(entry)
        with self._locked(entry) as folder:
            if _is_intact(path):
                return
            for stale in folder.glob(".work.*"):  # whoever made it is dead: its lock is ours
                shutil.rmtree(stale, ignore_errors=True)
            work = folder / f".work.{os.getpid()}"
            try:
                work.mkdir()
                staged = work / "bundle"
                published.save(entry, self._checkpoint(entry, folder, work), staged)
                if _can_export():
                    _export(bundle.load(staged), staged / GRAPH)
                shutil.rmtree(path, ignore_errors=True)
                staged.rename(path)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _checkpoint(self, entry: Published, folder: Path, work: Path) -> Path:
        """The verified checkpoint in ``folder``: later versions of a bundle are made of it, offline too."""
        kept = folder / f"{entry.sha256[:12]}.pt"
        if not download.verified(entry, kept):
            if kept.exists():
                logging.warning("%s is damaged and fetched anew", kept)
            download.checkpoint(entry, work).replace(kept)
        return kept

    @contextmanager
    def _locked(self, entry: Published) -> Iterator[Path]:
        """The folder of ``entry``, for one process at a time.

        Raises:
            DataError: it cannot be written, or what is done there cannot.
        """
        folder = self._folder / entry.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ".lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    logs.notice(f"another process is fetching {entry.name}: waiting for it")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                yield folder
        except OSError as error:
            why = f"cannot be written: {error.strerror or error}"
            raise DataError(folder, why, CHOOSE) from error


def _key(entry: Published) -> str:
    """Of all that decides bundle and graph."""
    made_of = {
        "weights": entry.sha256,
        "card": published.card_digest(entry),
        "graph": str(onnx_file.REVISION),
        "speakerlab": __version__,
    }
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]


def _is_intact(path: Path) -> bool:
    from speakerlab.hub import bundle

    try:
        bundle.content_hash(path)
    except DataError:
        return False
    return True


def _is_sealed(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        onnx_file.sealed(path)
    except DataError:
        return False
    return True


def _can_export() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in _EXPORTERS)


def _export(loaded: Bundle, path: Path) -> None:
    """Write the checked waveform graph of ``loaded`` to ``path``, or a note there that it cannot be."""
    from speakerlab.hub import waveform_file

    logs.notice("writing its graph for ONNX Runtime, once (about a minute): commands need no torch then")
    try:
        with atomic.staged(path) as staged:
            waveform_file.write(loaded, staged)
    except DataError:
        raise
    except SpeakerLabError as error:
        logging.warning("no graph is kept: %s", error)
        path.unlink(missing_ok=True)
        path.with_name(_FAILED).write_text(f"{error}\n", encoding="utf-8")
