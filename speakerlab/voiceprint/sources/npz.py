"""People from a file of vectors, ``label`` [N] and ``train_feats`` [N, E], and the writing of one.

``read(Path("staff.npz"))`` -> ``[("Ann", float64 [E]), ...]``; ``export(store, path, model_hash)``. Such a
row is the mean of a speaker's unit vectors, not of length 1 again. Nothing pickled is read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from speakerlab.errors import AudioError, DataError
from speakerlab.io import atomic
from speakerlab.pipeline.sources import Source
from speakerlab.types import Float32Array, Float64Array
from speakerlab.voiceprint.records import ENROLLED, MAX_DIM, Consent, Voiceprint, checked
from speakerlab.voiceprint.sources.listing import Lister, Listing, one_line
from speakerlab.voiceprint.sources.workbook import BROKEN_ZIP
from speakerlab.voiceprint.store import VoiceprintStore

LABEL, FEATS = "label", "train_feats"
MAX_UNPACKED = 2 << 30  # bytes; half a million people of 512 float64
MAX_LABEL = 1000  # characters


def read(path: Path) -> list[tuple[str, Float64Array]]:
    """Label and vector of each row.

    Raises:
        DataError: it is no such file.
    """
    try:
        with zipfile.ZipFile(path) as package:
            labels = _array(path, package, LABEL)
            feats = _array(path, package, FEATS)
    except (OSError, *BROKEN_ZIP) as error:
        raise DataError(path, f"cannot be read as .npz: {error}") from error
    if labels.dtype.kind not in "US" or labels.ndim != 1:
        raise DataError(path, f"{LABEL} is {labels.dtype} {labels.shape}, and no list of texts")
    if feats.dtype.kind != "f" or feats.ndim != 2 or not 0 < feats.shape[1] <= MAX_DIM:
        raise DataError(path, f"{FEATS} is {feats.dtype} {feats.shape}, and no vector for each label")
    if len(labels) != len(feats) or not len(labels):
        raise DataError(path, f"has {len(labels)} labels and {len(feats)} vectors")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    return list(zip(map(str, labels.tolist()), feats.astype(np.float64), strict=True))


def _array(path: Path, package: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """An array, after its header was compared with what is there: a header alone can demand terabytes."""
    try:
        part = package.getinfo(f"{name}.npy")
    except KeyError as error:
        held = one_line(", ".join(one.filename.removesuffix(".npy") for one in package.infolist()[:5]))
        raise DataError(path, f"holds no {name}", f"it holds {held or 'nothing'}") from error
    try:
        with package.open(part) as stream:
            version = np.lib.format.read_magic(stream)
            reader = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = reader(stream)
        wanted = dtype.itemsize * int(np.prod([float(one) for one in shape]))
        if wanted > min(part.file_size, MAX_UNPACKED) or dtype.itemsize > 4 * MAX_LABEL:
            raise ValueError(f"an array of {wanted:,} bytes, and {part.file_size:,} are there")
        with package.open(part) as stream:
            return _read(stream)
    except (ValueError, OverflowError, SyntaxError, TypeError) as error:
        why = " ".join(str(error).split())[:150]
        raise DataError(
            path, f"{name} cannot be read: {why}", "write it again without pickled objects"
        ) from error


def _read(stream: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def listed(path: Path) -> tuple[Listing, list[Float32Array]]:
    """Who is in such a file, and the vector of each item; rows that cannot be a voiceprint are refused.

    Raises:
        DataError: it is no such file.
    """
    lister, vectors = Lister(path.parent), []
    for number, (label, vector) in enumerate(read(path), 1):
        origin = f"{path}, row {number}"
        with np.errstate(over="ignore"):
            narrow = vector.astype(np.float32)
        try:
            checked([Voiceprint(narrow, "stated elsewhere", origin)], str(path))
        except DataError as error:
            lister.refuse(label, origin, error.why.removeprefix(f"{origin}: "))
            continue
        before = len(lister.listing.items)
        lister.take(label, Source(origin, partial(_no_audio, origin)), origin)
        vectors += [narrow] * (len(lister.listing.items) - before)
    return lister.listing, vectors


def _no_audio(origin: str) -> Float32Array:
    raise AudioError(origin, "holds a vector, and no recording")


def mean_of_units(embeddings: Float32Array) -> Float64Array:
    """The mean of vectors [N, E], each taken to length 1; shorter than 1 where they differ."""
    wide = np.asarray(embeddings, np.float64)
    found: Float64Array = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0)
    return found


def model_in(store: VoiceprintStore, named: str) -> tuple[str, str, int] | None:
    """Content hash, name and embedding size of a model that the store knows by hash or name, if it does.

    Raises:
        DataError: several have this name.
    """
    with store.database.transaction(write=False):
        sql = "SELECT hash, name, dim FROM models WHERE hash = ? OR name = ?"
        found = store.database.rows(sql, named, named)
    if len(found) > 1:
        raise DataError(store.where, f"{len(found)} models are called {named!r}", "give the content hash")
    return found[0] if found else None


def export(store: VoiceprintStore, path: Path, named: str, gallery: str | None = None) -> int:
    """Write everybody with clips of one model, at least one of them allowed by a consent now; how many.

    Args:
        store: who.
        path: the new file.
        named: the model, by content hash or name.
        gallery: of these people only.

    Raises:
        DataError: no such model or gallery, nobody, a file that exists or cannot be written.
    """
    if path.exists():  # it may be the last good copy
        raise DataError(path, "exists already", "name a new file")
    model = model_in(store, named)
    if model is None:
        raise DataError(store.where, f"nobody is enrolled with a model called {named!r}")
    now, labels, rows = store.clock(), [], []
    for speaker in store.speakers(gallery):
        clips = [one.voiceprint for one in store.clips(speaker.speaker_id, ENROLLED)]
        used = [one.embedding for one in clips if one.model == model[0] and _is_allowed(one.consent, now)]
        if used:
            labels.append(speaker.name)
            rows.append(mean_of_units(np.stack(used)))
    with store.change() as revision:
        store.record(revision, "export", {}, gallery)
    write(path, labels, rows)
    return len(labels)


def _is_allowed(consent: Consent | None, now_s: float) -> bool:
    if consent is None:
        return True
    start_s, end_s = consent.start_s, consent.end_s
    return (start_s is None or start_s <= now_s) and (end_s is None or now_s < end_s)


def write(path: Path, labels: Sequence[str], rows: Sequence[Float64Array]) -> None:
    """Publish labels and their vectors as such a file; only its owner may read it.

    Raises:
        DataError: it cannot be written, or there is nobody.
    """
    if not labels:
        raise DataError(path, "nobody has a voiceprint to write")
    with atomic.staged(path) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("wb") as stream:
            _save(stream, np.array(labels), np.stack(rows))


def _save(stream: BinaryIO, labels: npt.NDArray[np.str_], rows: Float64Array) -> None:
    np.savez(stream, label=labels, train_feats=rows)
