"""Extraction at scale: speed and memory of the step over 10^3 to 10^5 utterances and over hours of recording.

The lists repeat the files of a data dir; the network is a tiny one with random weights unless --model names
another, so that what is measured is all the rest. A row gives utterances per second over all workers (of long
recordings, in windows of 30 s, seconds of audio), the start included, the highest memory of a worker, and how
much of the file of the weights a worker bears (Pss), where it maps that. The rerun finds all parts done.
--batching measures instead, in one process on CAM++ unless --model names another, what batches and reading
ahead bring: the least of --repeats turns.

Example: python benchmarks/extraction_scale.py --data data/demo/test
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speakerlab import config as config_io
from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.embed import batching
from speakerlab.embed.extraction import embeddings
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.hub.load import load_model
from speakerlab.io import audio

TINY = {"model": {"name": "tdnn", "channels": [64, 64, 64, 64, 192], "embed_dim": 64}}
RATE = 16000
WINDOW_S = 30
POLL_S = 0.5
WEIGHTS = ".safetensors"


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data dir of short recordings")
    parser.add_argument("--model", help="model; default: random weights")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10000, 100000], help="utterances")
    parser.add_argument("--hours", type=float, nargs="*", default=[1, 10], help="lengths of recordings")
    parser.add_argument("--suffix", choices=("wav", "flac"), default="wav", help="of long recordings")
    parser.add_argument("--nj", type=int, default=2, help="workers")
    parser.add_argument("--backend", default="torch", help="of the step")
    parser.add_argument("--batch-size", type=int, default=1, help="of the step")
    parser.add_argument("--batching", action="store_true", help="measure batches and reading ahead instead")
    parser.add_argument("--num-utts", type=int, default=48, help="utterances of --batching")
    parser.add_argument("--repeats", type=int, default=3, help="turns of --batching")
    return parser


def random_model(path: Path, settings: dict[str, Any]) -> str:
    """A bundle of random weights."""
    import torch

    from speakerlab.hub import bundle

    torch.manual_seed(0)
    config = config_io.from_mapping(bundle.EmbedderConfig, settings, "benchmark")
    feat_dim = config.frontend.build().dim
    bundle.save(path, config.model.build(feat_dim=feat_dim), config, feat_dim, {"weights": "random"})
    return str(path)


@dataclass
class Memory:
    """The highest resident memory of the workers of a step, and the weights they map, in MiB."""

    peak: float = 0.0
    weights_rss: float = 0.0
    weights_pss: float = 0.0

    def look(self, out: Path) -> None:
        """Read /proc of the workers that write to ``out``."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
                if b"speakerlab.bin.extract_embeddings" not in command or str(out).encode() not in command:
                    continue
                status = (process / "status").read_text()
                self.peak = max(self.peak, _kib(status.splitlines(), "VmHWM:") / 1024)
                rss, pss = mapped_weights((process / "smaps").read_text().splitlines())
            except (OSError, ValueError):  # it has just ended
                continue
            if rss:
                self.weights_rss, self.weights_pss = rss / 1024, pss / 1024


def _kib(lines: Iterable[str], name: str) -> int:
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def mapped_weights(smaps: list[str]) -> tuple[int, int]:
    """Rss and Pss, in KiB, of the mappings of files of weights."""
    rss = pss = 0
    is_weights = False
    for line in smaps:
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            is_weights = line.endswith(WEIGHTS)
        elif is_weights and first == "Rss:":
            rss += int(line.split()[1])
        elif is_weights and first == "Pss:":
            pss += int(line.split()[1])
    return rss, pss


def run_step(arguments: argparse.Namespace, data: Path, out: Path, *more: str) -> tuple[float, Memory]:
    """Seconds of the step, and the memory of its workers."""
    command = ["bash", "steps/extract_embeddings.sh", "--nj", str(arguments.nj), "--gpus", ""]
    command += ["--backend", arguments.backend, "--batch-size", str(arguments.batch_size), *more]
    memory = Memory()
    start = time.monotonic()
    with subprocess.Popen([*command, arguments.model, str(data), str(out)], stderr=subprocess.PIPE) as step:
        while step.poll() is None:
            memory.look(out)
            time.sleep(POLL_S)
        said = step.stderr.read().decode() if step.stderr else ""
    if step.returncode:
        raise SystemExit(said)
    return time.monotonic() - start, memory


def repeated(data: DataDir, size: int, out: Path) -> Path:
    """A data dir of ``size`` utterances: the files of ``data`` over and over."""
    sources = [str(Path(recording.source).absolute()) for recording in data.recordings.values()]
    out.mkdir()
    lines = (f"u{n:07d} {sources[n % len(sources)]}\n" for n in range(size))
    (out / "wav.scp").write_text("".join(lines))
    return out


def long_recording(data: DataDir, hours: float, suffix: str, out: Path) -> Path:
    """A data dir of one recording of ``hours``: the files of ``data`` one after the other."""
    pieces = [audio.read(recording, sample_rate=RATE).samples for recording in data.recordings.values()]
    left = round(hours * 3600 * RATE)
    out.mkdir()
    path = out / f"long.{suffix}"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as stream:
        number = 0
        while left:
            piece = pieces[number % len(pieces)][:left]
            stream.write(piece)
            left -= len(piece)
            number += 1
    (out / "wav.scp").write_text(f"long {path}\n")
    return out


def scale(arguments: argparse.Namespace, scratch: Path) -> None:
    arguments.model = arguments.model or random_model(scratch / "model", TINY)
    data = DataDir.load(arguments.data)
    head = ("seconds", "per second", "MiB per worker", "weights Rss/Pss", "rerun s")
    print(f"{'':>20}" + "".join(f"{one:>16}" for one in head))
    for size in arguments.sizes:
        folder = repeated(data, size, scratch / "data")
        seconds, memory = run_step(arguments, folder, scratch / "out")
        again, _ = run_step(arguments, folder, scratch / "out")
        row(f"{size:,} utterances", seconds, size / seconds, memory, again)
        clear(scratch)
    for hours in arguments.hours:
        folder = long_recording(data, hours, arguments.suffix, scratch / "data")
        seconds, memory = run_step(arguments, folder, scratch / "out", "--window-s", str(WINDOW_S))
        row(f"{hours:g} h of {arguments.suffix}", seconds, 3600 * hours / seconds, memory, None)
        clear(scratch)


def clear(scratch: Path) -> None:
    for name in ("data", "out"):
        shutil.rmtree(scratch / name)


def row(name: str, seconds: float, rate: float, memory: Memory, again: float | None) -> None:
    weights = f"{memory.weights_rss:.1f}/{memory.weights_pss:.1f}" if memory.weights_rss else "not mapped"
    last = "" if again is None else f"{again:.1f}"
    print(f"{name:>20}{seconds:>16.1f}{rate:>16.1f}{memory.peak:>16.0f}{weights:>16}{last:>16}", flush=True)


def batches(arguments: argparse.Namespace, scratch: Path) -> None:
    import torch

    torch.set_num_threads(1)
    data = DataDir.load(arguments.data)
    step = max(1, len(data.utterances) // arguments.num_utts)
    utterances = data.utterances[::step][: arguments.num_utts]
    extractor = Extractor.of_bundle(load_model(arguments.model or random_model(scratch / "model", {})))
    inputs = UtteranceInputs(data, extractor, feats_type="raw", use_vad=False)
    ahead = batching.prefetched

    def turn(size: int, read: Callable[..., Iterable[Any]]) -> float:
        batching.prefetched = read
        return timed(lambda: embeddings(utterances, inputs, extractor, size))

    cases = [(size, read) for size in (1, 4, 16) for read in (one_after_the_other, ahead)]
    times = dict.fromkeys(cases, float("inf"))
    for case in cases * arguments.repeats:
        times[case] = min(times[case], turn(*case))
    print(f"{len(utterances)} utterances, {os.cpu_count()} cores, one thread of the network")
    print(f"{'batch':>6}{'ahead':>7}{'utterances/s':>14}{'against 1, not ahead':>22}")
    for (size, read), seconds in times.items():
        is_ahead = "yes" if read is ahead else "no"
        ratio = times[cases[0]] / seconds
        print(f"{size:>6}{is_ahead:>7}{len(utterances) / seconds:>14.2f}{ratio:>21.2f}x")


def one_after_the_other(items: Iterable[Any], depth: int) -> Iterable[Any]:  # noqa: ARG001 (as prefetched)
    return items


def timed(results: Callable[[], Iterable[tuple[str, Any]]]) -> float:
    start = time.perf_counter()
    for _, found in results():
        if not isinstance(found, np.ndarray):
            raise found
    return time.perf_counter() - start


def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (batches if arguments.batching else scale)(arguments, Path(folder))


if __name__ == "__main__":
    entry.run(main, options())
