"""Extraction speed on one data dir: the step with 1 and 2 workers beside a plain loop, in one run.

The plain loop is what 3D-Speaker's extract.py does: one process, one thread, per utterance read audio,
fbank, eager network, one ark. All read the same files and run the same network; threads are pinned to one
per process. Prints seconds, real-time factor and ratios of the step with each back-end, its start-up, and the
peak memory of a worker on the list and on the list four times over. Exporting a graph is not timed: it is
done once per model.

Example: python benchmarks/extract_embeddings.py --data data/demo/test --backends torch onnx
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.io import audio
from speakerlab.types import Utterance


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", type=Path, help="model bundle; default: CAM++ with random weights")
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data dir")
    parser.add_argument(
        "--backends", nargs="+", default=["torch"], help="of the step: torch onnx openvino auto"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn; the median counts")
    parser.add_argument("--plain-loop", type=Path, help=argparse.SUPPRESS)  # the child of this script
    return parser


def plain_loop(model_dir: Path, data_dir: Path, ark: Path) -> None:
    import kaldiio
    import torch

    from speakerlab.frontend.cmvn import apply_cmvn
    from speakerlab.hub import bundle

    torch.set_num_threads(1)
    loaded = bundle.load(model_dir)
    frontend = loaded.config.frontend.build()
    data = DataDir.load(data_dir)
    with torch.no_grad(), kaldiio.WriteHelper(f"ark,scp:{ark},{ark.with_suffix('.scp')}") as writer:
        for utterance in data.utterances:
            recording = data.recordings[utterance.segment.rec_id]
            waveform = audio.read(recording, utterance.segment, frontend.sample_rate)
            feats = apply_cmvn(frontend(torch.from_numpy(waveform.samples)), loaded.config.cmvn)
            writer(utterance.utt_id, loaded.model(feats[None]).numpy()[0])


def random_campplus(path: Path) -> Path:
    """A bundle of the full CAM++: speed does not depend on what the weights are."""
    import torch

    from speakerlab.hub import bundle

    torch.manual_seed(0)
    config = bundle.EmbedderConfig()
    feat_dim = config.frontend.build().dim
    bundle.save(path, config.model.build(feat_dim=feat_dim), config, feat_dim, {"weights": "random"})
    return path


def timed(command: list[str]) -> float:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    start = time.monotonic()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def step(backend: str, model: Path, data: Path, out: Path, num_jobs: int) -> list[str]:
    shutil.rmtree(out, ignore_errors=True)
    how = ["--backend", backend, "--nj", str(num_jobs), "--gpus", ""]
    return ["bash", "steps/extract_embeddings.sh", *how, str(model), str(data), str(out)]


def repeated(data_dir: Path, out: Path, times: int) -> Path:
    """A data dir that lists the same audio ``times`` times."""
    data = DataDir.load(data_dir)
    out.mkdir()
    with (out / "wav.scp").open("w") as wav, (out / "segments").open("w") as segments:
        for recording in data.recordings.values():
            wav.write(f"{recording.rec_id} {recording.source}\n")
        for copy in range(times):
            for utterance in data.utterances:
                piece = utterance.segment
                end_s = -1 if piece.end_s is None else piece.end_s
                name = f"r{copy:03d}-{piece.utt_id}"
                segments.write(f"{name} {piece.rec_id} {piece.start_s} {end_s}\n")
    return out


def peak_mib(command: list[str]) -> float:
    """Peak resident memory of the largest process of a step, its worker, in MiB."""
    probe = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True,"
        " stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", probe, *command], env=env, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def seconds_of(utterances: tuple[Utterance, ...], data: DataDir) -> float:
    def length(utterance: Utterance) -> float:
        piece = utterance.segment
        end_s = piece.end_s if piece.end_s is not None else audio.duration_s(data.recordings[piece.rec_id])
        return end_s - piece.start_s

    return sum(length(utterance) for utterance in utterances)


def main(arguments: argparse.Namespace) -> None:
    if arguments.plain_loop:
        plain_loop(arguments.model, arguments.data, arguments.plain_loop)
        return
    data = DataDir.load(arguments.data)
    audio_s = seconds_of(data.utterances, data)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")  # of graphs that nobody needs afterwards
        model, source = arguments.model or random_campplus(scratch / "campplus"), arguments.data
        loop = [sys.executable, __file__, "--model", str(model), "--data", str(source)]
        loop += ["--plain-loop", str(scratch / "plain.ark")]
        one_utt, four = repeated_first(source, scratch / "one"), repeated(source, scratch / "four", 4)

        def run(backend: str, data: Path, num_jobs: int) -> list[str]:
            return step(backend, model, data, scratch / "out", num_jobs)

        times: dict[str, list[float]] = {"plain loop": []}
        start_up: dict[str, list[float]] = {backend: [] for backend in arguments.backends}
        for backend in arguments.backends:
            timed(run(backend, one_utt, 1))  # exports
        for _ in range(arguments.repeats):
            times["plain loop"].append(timed(loop))
            for backend in arguments.backends:
                for num_jobs in (1, 2):
                    seconds = timed(run(backend, source, num_jobs))
                    times.setdefault(f"{backend}, {num_jobs} worker(s)", []).append(seconds)
                start_up[backend].append(timed(run(backend, one_utt, 1)))
        peaks = {
            backend: [peak_mib(run(backend, folder, 1)) for folder in (source, four)]
            for backend in arguments.backends
        }
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores;")
    print(f"{len(data.utterances)} utterances, {audio_s:.0f} s of audio, median of {arguments.repeats} runs")
    print(f"{'':24}{'seconds':>9}{'RTF':>9}{'vs plain loop':>15}{'the same, start-up off':>24}")
    loop_s = statistics.median(times["plain loop"])
    for name, values in times.items():
        seconds = statistics.median(values)
        off = statistics.median(start_up.get(name.split(",")[0], [0.0]))
        print(f"{name:24}{seconds:9.2f}{seconds / audio_s:9.4f}{loop_s / seconds:14.2f}x", end="")
        print(f"{loop_s / (seconds - off):23.2f}x" if off else "")
    for backend, (peak_1, peak_4) in peaks.items():
        one, two = (statistics.median(times[f"{backend}, {number} worker(s)"]) for number in (1, 2))
        print(f"{backend}: second worker {one / two:.2f}x")
        print(f"  start-up (whole step on one utterance) {statistics.median(start_up[backend]):.2f} s")
        print(f"  peak memory of a worker {peak_1:.0f} MiB, on the list four times over {peak_4:.0f} MiB")


def repeated_first(data_dir: Path, out: Path) -> Path:
    """A data dir with the first recording of another."""
    recording = next(iter(DataDir.load(data_dir).recordings.values()))
    out.mkdir()
    (out / "wav.scp").write_text(f"{recording.rec_id} {recording.source}\n")
    return out


if __name__ == "__main__":
    entry.call(main, options())  # not run, which changes how the C library keeps memory
