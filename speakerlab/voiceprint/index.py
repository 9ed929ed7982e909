"""1:N search: which enrolled people are most like a query; exact, and of the store only a copy.

``index = SearchIndex.open(Path("index"), dim=192, key=model_hash + rule)``; ``index.upsert(ids, vectors)``;
``index.commit(store_revision)``; ``[matches] = index.search(query[None], top_k=5)``
-> ``matches.ids``, ``matches.scores``.

An index is a folder of mapped files, or memory. What is not as it must be is thrown away when it is opened:
its ``revision`` is 0 then, and whoever owns the store enters everybody again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speakerlab.errors import DataError
from speakerlab.logs import notice
from speakerlab.types import Float32Array, Float64Array
from speakerlab.voiceprint import search_products, search_scan
from speakerlab.voiceprint.index_files import IndexFiles
from speakerlab.voiceprint.index_ids import Ids, IdTable, decoded, encoded
from speakerlab.voiceprint.search_products import Matrix, Queries, Rows
from speakerlab.voiceprint.search_scan import Best

Scan = Literal["auto", "fp32", "int8", "faiss"]
SMALL = 50_000  # rows up to which fp32 is as fast, and torch need not be imported
FEW = 8  # a gallery of less than one in so many rows is read row by row
PIECE = 8192  # rows taken at once in an upsert: what is computed of them is small


@dataclass(frozen=True)
class Matches:
    """The best rows for one query, the highest score first; those of equal score in order of their ids."""

    ids: tuple[str, ...]
    scores: Float64Array


class Gallery:
    """Ids among which is searched, and their rows as of the last search. Unknown ids do not count."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = encoded(dict.fromkeys(ids), "gallery")
        self._known: tuple[int, int, Rows] | None = None

    def rows(self, table: IdTable, seed: int, version: int) -> Rows:
        """Rows in rising order, of an index known by its seed, at a version."""
        if self._known is None or self._known[:2] != (seed, version):
            rows = table.find(self.ids)
            self._known = (seed, version, np.sort(rows[rows >= 0]))
        return self._known[2]


class SearchIndex:
    """Vectors by id and the search among them; make one with ``open``.

    Any number of processes may have the same folder open, and write: each search sees the state before or
    after a whole ``upsert``, ``remove`` or ``clear``, never one in between. Threads that share one object
    wait for each other. A process that was forked opens its own.
    """

    def __init__(self, files: IndexFiles, dim: int, scan: Scan, num_threads: int) -> None:
        self._files, self._dim, self._scan, self._num_threads = files, dim, scan, num_threads
        self._table, self._lock = IdTable(files), threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        self._int8: bool | None = None

    @classmethod
    def open(
        cls,
        path: Path | None,
        dim: int,
        key: str,
        *,
        scan: Scan = "auto",
        num_threads: int | None = None,
    ) -> SearchIndex:
        """The index in the folder ``path``, or a new one where there is none that can be trusted.

        Args:
            path: a folder that holds nothing else; None: memory.
            dim: components of a vector.
            key: identifies what the vectors are: the model's content hash and the rule of speaker models.
            scan: "auto": fp32 up to ``SMALL`` rows, then int8. Results are the same with each.
            num_threads: of the int8 scan and of faiss; default: all cores.

        Raises:
            DataError: the folder cannot be written.
            MissingExtraError: faiss is asked for and not installed.
        """
        if scan == "faiss":
            from speakerlab.voiceprint.search_faiss import faiss

            faiss()
        return cls(IndexFiles(path, dim, key), dim, scan, num_threads or os.cpu_count() or 1)

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._lock, self._files.reading():
            return self._files.header.live

    @property
    def ids(self) -> tuple[str, ...]:
        """Everybody's id, in order; of a large index that is a lot of memory."""
        with self._lock, self._files.reading():
            used = self._files.header.used
            return decoded(np.sort(self._files["ids"][:used][self._files["live"][:used]]))

    @property
    def revision(self) -> int:
        """The revision of the store that was committed last; 0: none."""
        with self._lock, self._files.reading():
            return self._files.header.revision

    def commit(self, revision: int) -> None:
        """State that the index reflects ``revision`` of the store; after the changes that lead to it."""
        with self._lock, self._files.writing():
            self._files.put(revision=revision)

    def upsert(
        self,
        ids: Sequence[str],
        vectors: Float32Array,
        gains: npt.ArrayLike | None = None,
        biases: npt.ArrayLike | None = None,
    ) -> None:
        """Enter vectors, those of known ids in place of what was there; all of them or, at an error, none.

        Args:
            ids: N of them, no two alike.
            vectors: [N, D], of any length but zero; compared by direction.
            gains: [N], see ``search``; default 0.
            biases: [N]; default 0.

        Raises:
            DataError: what cannot be entered, or the files cannot be written.
        """
        names = encoded(ids, self._files.where)
        if len(np.unique(names)) != len(names):
            raise self._refused("an id comes twice in one call", "enter each once")
        if len(vectors) != len(names):
            raise self._refused(f"{len(names)} ids came with {len(vectors)} vectors", "give each id one")
        by_row = [self._numbers(0.0 if v is None else v, len(names)) for v in (gains, biases)]
        if len(names):
            with self._lock, self._files.writing():
                rows = self._place(names, vectors)
                self._files["gains"][rows], self._files["biases"][rows] = by_row
                self._show(names, rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Take ids out, and overwrite their vectors; how many of them were there."""
        names = np.unique(encoded(ids, self._files.where))
        with self._lock, self._files.writing():
            rows = self._table.find(names)
            names, rows = names[rows >= 0], rows[rows >= 0]
            if len(rows):
                self._files.put(changing=True)
                self._table.drop(names)
                self._free(rows)
                self._finish(len(rows), 0)
            return len(rows)

    def clear(self) -> None:
        """Take everybody out; the revision is 0 again. Also mends what a killed writer left."""
        with self._lock:
            self._files.clear()

    def sync(self) -> None:
        """Return when all is on the disk: after a power failure an index is thrown away unless it was."""
        with self._lock:
            self._files.sync()

    def close(self) -> None:
        """Sync, and let go of files and threads; what cannot be synced is made anew when it is needed."""
        with self._lock:
            if self._pool:
                self._pool.shutdown()
            with suppress(DataError):
                self._files.sync()
            self._files.close()

    def search(
        self,
        queries: npt.NDArray[np.floating],
        top_k: int,
        query_gain: npt.ArrayLike = 1.0,
        query_bias: npt.ArrayLike = 0.0,
        among: Gallery | Iterable[str] | None = None,
    ) -> list[Matches]:
        """The ``top_k`` best for each query, exactly: by the cosine of the fp32 vectors in float64.

        The score of row i is cosine_i * (gain_i + query_gain) + bias_i + query_bias: as-norm is of this form.

        Args:
            queries: [Q, D], of any length but zero.
            top_k: how many, at least 1; fewer come where fewer are enrolled.
            query_gain: one number, or [Q].
            query_bias: one number, or [Q].
            among: search only these; a ``Gallery`` that is kept finds its rows once, not at each search.

        Raises:
            DataError: queries of another size, not finite, or of no length; or the index is damaged.
        """
        directions, num = self._directions(queries, "queries"), len(queries)
        if top_k < 1:
            raise self._refused(f"top_k is {top_k}", "ask for at least 1")
        gain, bias = (self._numbers(v, num) for v in (query_gain, query_bias))
        gallery = Gallery(among) if among is not None and not isinstance(among, Gallery) else among
        found: list[Matches] = []
        with self._lock, self._files.reading():
            for start in range(0, num, search_scan.QUERIES_AT_ONCE):
                part = slice(start, start + search_scan.QUERIES_AT_ONCE)
                best = self._best(Queries(directions[part], gain[part], bias[part]), top_k, gallery)
                found += [Matches(decoded(each.ids), each.scores) for each in best]
        return found

    def _best(self, queries: Queries, top_k: int, gallery: Gallery | None) -> list[Best]:
        matrix, header = self._matrix(), self._files.header
        mask = None
        if gallery is not None:
            rows = gallery.rows(self._table, header.seed, header.version)
            if len(rows) * FEW < matrix.used:
                return search_scan.best_of_few(matrix, queries, top_k, rows)
            mask = np.zeros(len(matrix.live), np.bool_)
            mask[rows] = True
        if self._scan == "faiss" and mask is None and matrix.plain and (queries.gains > 0).all():
            from speakerlab.voiceprint.search_faiss import best_rows

            return best_rows(matrix, queries, top_k, self._num_threads)
        if self._uses_int8(matrix.used):
            scanner = search_products.Int8Scanner(matrix, queries.directions, self._num_threads)
            return search_scan.best_rows(matrix, queries, top_k, scanner, self._threads(), mask)
        exact = search_products.Fp32Scanner(matrix, queries.directions)
        return search_scan.best_rows(matrix, queries, top_k, exact, None, mask)

    def _uses_int8(self, rows: int) -> bool:
        if self._scan in ("fp32", "faiss") or not rows or (self._scan == "auto" and rows <= SMALL):
            return False
        if self._int8 is None:
            self._int8 = search_products.int8_works()
            if not self._int8:
                notice(
                    "search: this torch has no int8 product that is right; fp32 is scanned, which is slower"
                )
        return self._int8

    def _threads(self) -> ThreadPoolExecutor:
        """Threads in each of which torch uses one; its setting for all others stays."""
        if self._pool is None:
            import torch

            before = torch.get_num_threads()
            ready = threading.Barrier(self._num_threads)

            def start() -> None:
                torch.set_num_threads(1)
                ready.wait()

            self._pool = ThreadPoolExecutor(self._num_threads, "search")
            for task in [self._pool.submit(start) for _ in range(self._num_threads)]:
                task.result()
            torch.set_num_threads(before)
        return self._pool

    def _matrix(self) -> Matrix:
        files, header = self._files, self._files.header
        names = ("vectors", "codes", "scales", "errors", "gains", "biases", "live", "ids")
        columns: dict[str, Any] = {name: files[name] for name in names}
        gains = (header.gains[0], header.gains[1])
        return Matrix(**columns, used=header.used, gain_range=gains, max_bias=header.bias)

    def _place(self, ids: Ids, vectors: Float32Array) -> Rows:
        """Write ids and vectors into free rows, where nobody sees them; which rows."""
        files, rows = self._files, self._free_rows(len(ids))
        files.grow(int(rows[-1]) + 1)
        self._table.reserve(len(ids))
        for start in range(0, len(ids), PIECE):
            part = rows[start : start + PIECE]
            units = self._directions(vectors[start : start + PIECE], "vectors").astype(np.float32)
            files["vectors"][part] = units
            files["codes"][part], files["scales"][part], errors = search_products.quantised(units)
            files["errors"][part] = np.nextafter(errors.astype(np.float32), np.float32(np.inf))
        files["ids"][rows] = ids
        return rows

    def _show(self, ids: Ids, rows: Rows) -> None:
        """Put rows that were placed in force."""
        files, before = self._files, self._table.find(ids)
        known, header = before >= 0, self._files.header
        gains, biases = files["gains"][rows], files["biases"][rows]
        files.put(
            changing=True,
            used=max(header.used, int(rows[-1]) + 1),
            first_free=self._free_from(rows),
            gains=(min(header.gains[0], float(gains.min())), max(header.gains[1], float(gains.max()))),
            bias=max(header.bias, float(np.abs(biases).max())),
        )
        self._table.move(ids[known], rows[known])
        self._table.add(ids[~known], rows[~known])
        files["live"][rows] = True
        self._free(before[known])
        self._finish(int(known.sum()), len(rows))

    def _free(self, rows: Rows) -> None:
        """Mark rows as free and erase what they held."""
        if len(rows):
            self._files["live"][rows] = False
            for column in ("vectors", "codes", "scales", "errors", "gains", "biases"):
                self._files[column][rows] = 0
            self._files["ids"][rows] = b""
            self._files.put(first_free=min(self._files.header.first_free, int(rows.min())))

    def _finish(self, removed: int, added: int) -> None:
        header = self._files.header
        self._files.put(live=header.live + added - removed, version=header.version + 1, changing=False)

    def _free_rows(self, wanted: int) -> Rows:
        """Rows that hold nothing, in rising order; from the end where none are left before it."""
        header, found = self._files.header, np.empty(0, np.int64)
        start = header.first_free
        while len(found) < min(wanted, header.used - header.live) and start < header.used:
            end = min(start + PIECE, header.used)
            found = np.append(found, start + np.flatnonzero(~self._files["live"][start:end]))
            start = end
        found = found[:wanted]
        more = np.arange(header.used, header.used + wanted - len(found))
        return np.concatenate([found, more])

    def _free_from(self, taken: Rows) -> int:
        """No row before this one is free once ``taken``, the first free ones, are not."""
        return max(self._files.header.first_free, int(taken[-1]) + 1)

    def _directions(self, vectors: npt.NDArray[np.floating], what: str) -> Float64Array:
        """The vectors at length 1, float64."""
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self._dim:
            raise self._refused(f"{what} are {list(rows.shape)}", f"give [N, {self._dim}]")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise self._refused(f"{what} hold one that is not finite or has no length", "leave it out")
        return np.asarray(rows / lengths)

    def _numbers(self, values: npt.ArrayLike, num: int) -> Float64Array:
        """A number for each of ``num``; one number is for all."""
        numbers = np.asarray(values, np.float64)
        if numbers.shape not in ((), (num,)) or not np.isfinite(numbers).all():
            raise self._refused(f"gains and biases must be {num} finite numbers", "give one for each vector")
        return np.array(np.broadcast_to(numbers, num))

    def _refused(self, why: str, fix: str) -> DataError:
        return DataError(self._files.where, why, fix)
