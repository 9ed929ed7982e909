"""Extraction from audio file to embedding per network: ours with each back-end beside peers' whole pipelines.

Rows: ``loop``, a loop as 3D-Speaker's extract.py (audio, fbank, mean, eager network, ark) over our network;
``3D-Speaker``, the same over its own network as ModelScope ships it; ``modelscope`` (its pipeline),
``speechbrain`` (its EncoderClassifier), ``mvector`` (its predictor); the bare network call of ONNX Runtime on
features that are ready; ours with each back-end and precision. All on the same random weights, which is
checked first. Two readings: one thread on one core, in turn in one process, in which all of them gain from
what our commands do to keep freed memory; and all cores, each peer a process of its own with torch's default
threads beside our step with one worker of one thread per core.
The least of several turns counts. Most lengths of a real list are new: with few utterances, which come again
each turn, a back-end that prepares for each length is flattered. The peers are installed by
bash tests/parity/run.sh -k mvector
python -m pip install --no-deps --target .peers -r requirements/benchmark.txt

Example: python benchmarks/extraction_backends.py --data data/demo/test --models campplus ecapa_tdnn
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

import numpy as np
import peer_pipelines
import torch
from torch.utils.flop_counter import FlopCounterMode

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.embed import backends, graphs
from speakerlab.embed.extraction import embeddings
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.embed.session import SessionConfig
from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.hub import bundle, onnx_export, onnx_file, onnx_metadata, onnx_precision
from speakerlab.io import audio
from speakerlab.io.ark import ArkWriter

OURS = (("torch", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
INT8 = "onnx int8"
BARE = "bare ORT call"
STEADY_S = 15  # seconds of work, start-up not counted, that a row of the second reading rests on
LEAST_COSINE = 0.999  # between embeddings of equal computations
Row = TypeVar("Row", bound=Hashable)


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data dir: whole files, 16 kHz, mono")
    networks = list(peer_pipelines.NETWORKS)
    parser.add_argument("--models", nargs="+", choices=networks, default=networks, help="networks")
    parser.add_argument("--num-utts", type=int, default=40, help="utterances, spread over the list; 0: all")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each; the least counts")
    parser.add_argument("--one-core", action="store_true", help="the first reading alone")
    return parser


class Work:
    """One network and the files it is measured on, with everything they need in ``scratch``."""

    def __init__(self, name: str, files: Mapping[str, str], scratch: Path) -> None:
        self.name, self.files, self.scratch = name, files, scratch
        self.paths = list(files.values())
        self.models = scratch / "models"
        self.models.mkdir(parents=True)
        peer_pipelines.write_models(name, self.paths, self.models)
        self.bundle = bundle.load(self.models / "ours")
        self.cache = scratch / "cache" / "speakerlab"
        self.data = DataDir.load(self.data_dir(1))
        self.audio_s = sum(audio.duration_s(recording) for recording in self.data.recordings.values())
        self.feats = [peer_pipelines.features(path).numpy() for path in self.paths]

    def data_dir(self, copies: int) -> Path:
        """A data dir that lists the files so many times."""
        path = self.scratch / f"data{copies}"
        if not path.exists():
            path.mkdir()
            lines = (
                f"{n:05d}-{utt_id} {file}\n" for n in range(copies) for utt_id, file in self.files.items()
            )
            (path / "wav.scp").write_text("".join(lines))
        return path

    def ours(self, extractor: Extractor) -> None:
        """From audio files to ark in this process."""
        inputs = UtteranceInputs(self.data, extractor, feats_type="raw", use_vad=False)
        with ArkWriter(self.scratch / "o.ark", self.scratch / "o.scp") as writer:
            for utt_id, found in embeddings(self.data.utterances, inputs, extractor, 1):
                if isinstance(found, AudioError):
                    raise found
                writer.write(utt_id, found)

    def int8_graph(self) -> Path:
        """The network in int8, calibrated on the files; random weights lose more than trained ones."""
        path = self.scratch / "int8.onnx"
        if not path.exists():
            onnx_export.export(self.bundle.model, int(self.bundle.card["feat_dim"]), path)
            onnx_precision.reduce_precision(path, "int8", iter(self.feats))
            onnx_file.write(path, {**onnx_metadata.describe(self.bundle), "precision": "int8"})
        return path

    def bare(self, session: Any) -> None:
        """The network alone."""
        for feats in self.feats:
            session.run(None, {"feature": feats[None]})

    def flops(self) -> float:
        """Floating-point operations of the network on all files."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for feats in self.feats:
                self.bundle.model(torch.from_numpy(feats)[None])
        return float(counter.get_total_flops())


def chosen_files(data: DataDir, num_utts: int) -> dict[str, str]:
    """Audio file by utterance id.

    Raises:
        SpeakerLabError: utterances are stretches or channels of files, or come from commands.
    """
    step = max(1, len(data.utterances) // num_utts) if num_utts else 1
    files = {}
    for utterance in data.utterances[::step][: num_utts or None]:
        recording, piece = data.recordings[utterance.segment.rec_id], utterance.segment
        if recording.is_pipe or piece.start_s or piece.end_s is not None:
            raise SpeakerLabError(f"{piece.utt_id} is no whole audio file; the peers read nothing else")
        files[str(piece.utt_id)] = str(Path(recording.source).resolve())
    return files


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@torch.no_grad()
def check(work: Work, peers: Mapping[str, peer_pipelines.Peer]) -> None:
    """Print how near each peer's embeddings are to those of our extraction.

    Raises:
        SpeakerLabError: a network, or a pipeline that should do the same, does not.
    """
    ours = Extractor.of_bundle(work.bundle)
    inputs = UtteranceInputs(work.data, ours, feats_type="raw", use_vad=False)
    expected = [ours.session.embed([inputs[utterance]]) for utterance in work.data.utterances]
    for name, peer in peers.items():
        size = sum(parameter.numel() for parameter in peer.network.parameters())
        found = [peer.network(torch.from_numpy(feats)[None]) for feats in work.feats]
        network = min(map(cosine, found, expected))
        whole = min(map(cosine, map(peer.embed, work.paths), expected))
        print(f"{name:12} {size:,} parameters; least cosine to ours: network {network:.5f}", end="")
        print(f", from audio {whole:.5f}{peer.differs and ': ' + peer.differs}")
        if network < LEAST_COSINE or (whole < LEAST_COSINE and not peer.differs):
            raise SpeakerLabError(f"{name} does not compute what ours does for {work.name}")


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
    """Real-time factors, how many times as fast as each peer, and further columns by heading."""
    references = [row for row in rtf if row in peer_pipelines.PEERS]
    heads = ["RTF", *(f"vs {row}" for row in references), *extra]
    widths = [max(8, len(head) + 2) for head in heads]
    print(f"{'':19}" + "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for row, value in rtf.items():
        cells = [f"{value:.4f}", *(f"{rtf[reference] / value:.2f}x" for reference in references)]
        cells += [column[row] for column in extra.values()]
        print(f"{row:19}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))


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


def one_core(work: Work, repeats: int) -> dict[str, float]:
    """The first reading: its table, and its real-time factors by row."""
    names = peer_pipelines.peers_of(work.name)
    peers = {name: peer_pipelines.open_peer(name, work.name, work.models) for name in names}
    check(work, peers)
    scp, ark = work.data_dir(1) / "wav.scp", work.scratch / "p.ark"
    todo: dict[str, Callable[[], None]] = {
        name: functools.partial(peer_pipelines.embed_all, peer, scp, ark) for name, peer in peers.items()
    }
    todo[BARE] = functools.partial(work.bare, bare_session(work))
    todo.update({row: functools.partial(work.ours, extractor) for row, extractor in extractors(work).items()})
    in_turn(todo, 1)  # warms up
    times = in_turn(todo, repeats)
    total, peak = work.flops(), peak_flops()
    print(f"one thread on one core, start-up excluded; matrix peak in fp32 {peak / 1e9:.0f} GFLOP/s")
    rtf = {row: seconds / work.audio_s for row, seconds in times.items()}
    table(
        rtf,
        {
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
                row: default if row in peer_pipelines.PEERS else f"{cores} x 1" for row in rtf
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
    print(f"torch {torch.__version__}, numpy {np.__version__}")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            report(Work(name, files, Path(folder)), arguments.repeats, is_one_core=arguments.one_core)


if __name__ == "__main__":
    entry.run(main, options())
