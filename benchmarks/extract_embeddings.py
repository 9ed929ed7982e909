"""Extraction speed on one data dir: the step with 1 and 2 workers beside a plain loop, in one run.

The plain loop is what 3D-Speaker's extract.py does: one process, one thread, per utterance read audio,
fbank, eager network, one ark. All read the same files and run the same network; threads are pinned to one
per process. Prints seconds, real-time factor and ratios, the start-up of a worker, and its peak memory on
the list and on the list four times over.

Example: python benchmarks/extract_embeddings.py --data data/demo/test
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
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


def step(model: Path, data: Path, out: Path, num_jobs: int) -> list[str]:
    shutil.rmtree(out, ignore_errors=True)
    jobs = ["--nj", str(num_jobs), "--gpus", ""]
    return ["bash", "steps/extract_embeddings.sh", *jobs, str(model), str(data), str(out)]


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
    """Peak resident memory of one worker process, in MiB."""
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
        model, source = arguments.model or random_campplus(scratch / "campplus"), arguments.data
        loop = [sys.executable, __file__, "--model", str(model), "--data", str(source)]
        loop += ["--plain-loop", str(scratch / "plain.ark")]
        one_utt = repeated_first(source, scratch / "one")
        times: dict[str, list[float]] = {"plain loop": [], "step, 1 worker": [], "step, 2 workers": []}
        start_up: list[float] = []
        for _ in range(arguments.repeats):
            times["plain loop"].append(timed(loop))
            times["step, 1 worker"].append(timed(step(model, source, scratch / "a", 1)))
            times["step, 2 workers"].append(timed(step(model, source, scratch / "b", 2)))
            start_up.append(timed(step(model, one_utt, scratch / "c", 1)))
        worker = [sys.executable, "-m", "speakerlab.bin.extract_embeddings", "--model", str(model)]
        four = repeated(source, scratch / "four", 4)
        peak_1 = peak_mib([*worker, str(source), str(scratch / "d")])
        peak_4 = peak_mib([*worker, str(four), str(scratch / "e")])
    median = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread per process;")
    print(f"{len(data.utterances)} utterances, {audio_s:.0f} s of audio, median of {arguments.repeats} runs")
    print(f"{'':18}{'seconds':>9}{'RTF':>9}{'vs plain loop':>15}")
    for name, value in median.items():
        print(f"{name:18}{value:9.2f}{value / audio_s:9.4f}{median['plain loop'] / value:14.2f}x")
    print(f"second worker: {median['step, 1 worker'] / median['step, 2 workers']:.2f}x")
    print(f"start-up (whole step on one utterance): {sorted(start_up)[len(start_up) // 2]:.2f} s")
    print(f"peak memory of a worker: {peak_1:.0f} MiB; on the list four times over: {peak_4:.0f} MiB")


def repeated_first(data_dir: Path, out: Path) -> Path:
    """A data dir with the first recording of another."""
    recording = next(iter(DataDir.load(data_dir).recordings.values()))
    out.mkdir()
    (out / "wav.scp").write_text(f"{recording.rec_id} {recording.source}\n")
    return out


if __name__ == "__main__":
    entry.run(main, options())
