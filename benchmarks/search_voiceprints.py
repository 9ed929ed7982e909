"""1:N search: milliseconds a query by size, scan and batch, beside the memory's speed and peers.

Voiceprints are random directions, 192-d; half of the queries are a voiceprint at cosine .7, half are
strangers. The bound is the time that reading the scanned bytes takes, measured in the same run with as many
threads: 1 byte a component for int8, 4 for fp32. "least" and "median" are wall times of --repeats runs, the
bound is a least one; "cpu" is the least processor time of all threads together, which other programs
disturb less. "same" is the share of queries whose first id is that of a full sort in float64. Peers: faiss
(with its own copy of the vectors), hnswlib and usearch with their defaults, where installed. The memory is
what the process holds beyond mapped files (Linux), above what it held before. --keep names a folder for the
galleries, which a second run finds; --build-only makes them.

Example: python benchmarks/search_voiceprints.py --sizes 10000 100000 1000000 --threads 2
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speakerlab.bin import entry
from speakerlab.voiceprint.index import SearchIndex

DIM, KEY, BUILD = 192, "benchmark", 50_000
BATCHES = (1, 32)
NUM_QUERIES = 64
PIECE_BYTES = 1 << 20
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Matrix = npt.NDArray[np.float32]
Search = Callable[[Matrix], list[str]]


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=2, help="cores the process is pinned to; default 2")
    parser.add_argument("--repeats", type=int, default=15, help="searches of each kind")
    parser.add_argument(
        "--scans", nargs="+", default=["fp32", "int8", "faiss"], help="default: fp32 int8 faiss"
    )
    parser.add_argument(
        "--graphs-up-to", type=int, default=100_000, help="largest size for hnswlib and usearch"
    )
    parser.add_argument("--keep", type=Path, help="folder of galleries; default: a temporary one")
    parser.add_argument("--build-only", action="store_true", help="make the galleries, measure nothing")
    return parser


def voiceprints(size: int) -> Iterator[tuple[list[str], Matrix]]:
    for start in range(0, size, BUILD):
        num = min(BUILD, size - start)
        yield (
            [f"{row:09d}" for row in range(start, start + num)],
            np.random.default_rng(start).standard_normal((num, DIM), dtype=np.float32),
        )


def built(path: Path, size: int) -> None:
    """A gallery of ``size`` in ``path``, unless it is there."""
    with SearchIndex.open(path, DIM, KEY) as index:
        if index.revision == size:
            return
        start = time.perf_counter()
        for ids, rows in voiceprints(size):
            index.upsert(ids, rows)
        index.commit(size)
        print(f"{size:,} entered in {time.perf_counter() - start:.0f} s", file=sys.stderr)


def queries(index: SearchIndex, size: int) -> Matrix:
    rng = np.random.default_rng(1)
    own = index._files["vectors"][rng.choice(size, NUM_QUERIES)]
    noise = rng.standard_normal((NUM_QUERIES, DIM))
    noise -= (noise * own).sum(axis=1, keepdims=True) * own
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    own = 0.7 * own + np.sqrt(1 - 0.49) * noise
    own[::2] = rng.standard_normal((NUM_QUERIES // 2, DIM))
    return own.astype(np.float32)


def full_sort(index: SearchIndex, size: int, asked: Matrix) -> list[str]:
    """The first id of each query, by all cosines in float64."""
    units = asked / np.linalg.norm(asked.astype(np.float64), axis=1, keepdims=True)
    best, found = np.full(len(asked), -2.0), np.zeros(len(asked), np.int64)
    for start in range(0, size, BUILD):
        cosines = index._files["vectors"][start : min(start + BUILD, size)].astype(np.float64) @ units.T
        rows, high = cosines.argmax(axis=0), cosines.max(axis=0)
        better = high > best
        best[better], found[better] = high[better], start + rows[better]
    return [f"{row:09d}" for row in found]


def bytes_a_ms(matrix: npt.NDArray[Any], threads: int, repeats: int) -> float:
    """How fast the threads read the mapped file, at best."""
    words = matrix.reshape(-1).view(np.int64)
    step = PIECE_BYTES // 8
    seconds = []
    with ThreadPoolExecutor(threads) as pool:

        def read(part: int) -> None:
            for start in range(part * step, len(words), threads * step):
                words[start : start + step].max()

        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(read, range(threads)))
            seconds.append(time.perf_counter() - start)
    return float(matrix.nbytes / min(seconds) / 1000)


def timed(search: Search, asked: Matrix, batch: int, repeats: int) -> tuple[float, float, float]:
    """Least and median wall, and least processor milliseconds a query."""
    wall, cpu = [], []
    for repeat in range(repeats + 1):
        part = np.roll(asked, -repeat * batch, axis=0)[:batch]
        start = time.perf_counter(), time.process_time()
        search(part)
        if repeat:  # the first is to warm up
            wall.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
    least, median, processor = min(wall), statistics.median(wall), min(cpu)
    return least * 1000 / batch, median * 1000 / batch, processor * 1000 / batch


def ours(path: Path, scan: Any, threads: int) -> Search:
    index = SearchIndex.open(path, DIM, KEY, scan=scan, num_threads=threads)
    return lambda asked: [matches.ids[0] for matches in index.search(asked, 1)]


def faiss_flat(rows: Matrix, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(DIM)
    index.add(rows)
    return lambda asked: [f"{row:09d}" for row in index.search(asked, 1)[1][:, 0]]


def hnswlib_graph(rows: Matrix, threads: int) -> Search:
    import hnswlib

    index = hnswlib.Index("cosine", DIM)
    index.init_index(len(rows))
    index.set_num_threads(threads)
    index.add_items(rows)
    return lambda asked: [f"{row:09d}" for row in index.knn_query(asked, 1)[0][:, 0]]


def usearch_graph(rows: Matrix, threads: int) -> Search:
    from usearch.index import Index

    index = Index(ndim=DIM, metric="cos", dtype="i8")
    index.add(np.arange(len(rows)), rows, threads=threads)

    def search(asked: Matrix) -> list[str]:
        found = index.search(asked, 1, threads=threads).keys
        return [f"{row:09d}" for row in np.asarray(found).reshape(-1)]

    return search


def peers(index: SearchIndex, size: int, arguments: argparse.Namespace) -> Iterator[tuple[str, Search, int]]:
    """Name, search and bytes a component that it scans; 0: it does not."""
    rows = index._files["vectors"][:size]
    if find_spec("faiss"):
        yield "faiss IndexFlatIP", faiss_flat(rows, arguments.threads), 4
    for package, make in (("hnswlib", hnswlib_graph), ("usearch", usearch_graph)):
        if find_spec(package) and size <= arguments.graphs_up_to:
            yield f"{package}, defaults", make(rows, arguments.threads), 0


def memory_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text(encoding="ascii").split("RssAnon:")[1].split()[0]) / 1024


def measure(path: Path, size: int, arguments: argparse.Namespace) -> None:
    with SearchIndex.open(path, DIM, KEY) as index:
        asked, codes = queries(index, size), index._files["codes"][:size]
        wanted = full_sort(index, size, asked)
        speed = bytes_a_ms(codes, arguments.threads, arguments.repeats)
        print(f"{size:,} voiceprints, {speed / 1e6:.1f} GB/s")
        scans = [s for s in arguments.scans if s != "faiss" or find_spec("faiss")]
        named = ((s, ours(path, s, arguments.threads), 1 if s == "int8" else 4) for s in scans)
        before = memory_mib()
        for what, search, width in chain(named, peers(index, size, arguments)):
            found = search(asked)
            same = statistics.mean(a == b for a, b in zip(found, wanted, strict=True))
            for batch in BATCHES:
                least, median, cpu = timed(search, asked, batch, arguments.repeats)
                bound = size * DIM * width / speed / batch
                ratio = f"{bound:8.3f} {least / bound:6.2f}" if width else " " * 15
                times = f"{least:8.3f} {median:8.3f} {cpu:8.3f}"
                held = memory_mib() - before
                print(f"{what:<18} {batch:>5} {times} {ratio} {same:6.3f} {held:6.0f} MiB", flush=True)


def main(arguments: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
    os.sched_setaffinity(0, cores)
    if any(os.environ.get(name) != str(arguments.threads) for name in LIBRARIES):  # read when they are loaded
        limits = dict.fromkeys(LIBRARIES, str(arguments.threads))
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **limits})
    with tempfile.TemporaryDirectory() as scratch:
        folders = {size: (arguments.keep or Path(scratch)) / str(size) for size in arguments.sizes}
        for size, path in folders.items():
            built(path, size)
        if arguments.build_only:
            return
        print(f"{platform.processor() or platform.machine()}, {len(cores)} cores, {DIM}-d")
        print(f"{'ms a query':<18} batch    least   median      cpu    bound      x   same     memory")
        for size, path in folders.items():
            measure(path, size, arguments)


if __name__ == "__main__":
    entry.run(main, options())
