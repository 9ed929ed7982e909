"""The C++ engine beside the Python package and sherpa-onnx: files of 3 s to embeddings, one core or all.

Each row is a process of its own that embeds --clips files, then twice as many: the difference gives the
real-time factor, audio reading and features included; the rest is the start. "First" is the time from the
start of the process to the end of the first embedding. The model is a published one's graph of features, with
sherpa-onnx's metadata. Embeddings are compared with those of the Python package; sherpa-onnx computes other
features (frames at the edges, mels up to 7600 Hz). Build the engine first: tests/engine/run.sh leaves it in
.peers-engine/build; sherpa-onnx comes with tests/parity/run.sh (.peers).

Example: PYTHONPATH=$PWD:$PWD/.peers python benchmarks/engine.py --data corpus/eval-libri --cores 1
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import peer_pipelines
import soundfile

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.hub import published
from speakerlab.io import audio

RATE, CLIP_S = 16000, 3.0
# The figures of 3D-Speaker's engine for another processor, of 3 s on one thread; for orientation alone.
THEIRS = {"campplus": 0.049}
OURS_PYTHON = """
import sys, numpy as np
from speakerlab.embed.session import SessionConfig
from speakerlab.pipeline import pipeline
p = pipeline(model=sys.argv[1], ngpu=0, running=SessionConfig(backend="onnx", num_threads=int(sys.argv[3])))
for line in open(sys.argv[2]):
    last = p(line.split()[1])["spk_embedding"]
np.save(sys.argv[4], last)
"""
SHERPA = """
import sys, numpy as np, sherpa_onnx, soundfile
config = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=sys.argv[1], num_threads=int(sys.argv[3]))
extractor = sherpa_onnx.SpeakerEmbeddingExtractor(config)
for line in open(sys.argv[2]):
    samples, rate = soundfile.read(line.split()[1], dtype="float32")
    stream = extractor.create_stream()
    stream.accept_waveform(sample_rate=rate, waveform=samples)
    stream.input_finished()
    last = np.array(extractor.compute(stream))
np.save(sys.argv[4], last)
"""


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data dir whose recordings give the clips")
    parser.add_argument(
        "--model", default="campplus", choices=sorted(published.TABLE), help="published model"
    )
    parser.add_argument("--build", type=Path, default=Path(".peers-engine/build"), help="of the engine")
    parser.add_argument("--clips", type=int, default=100, help="files; twice as many are the second run")
    parser.add_argument("--cores", type=int, default=1, help="the processes are bound to so many")
    parser.add_argument("--repeats", type=int, default=2, help="turns; the fastest of each counts")
    return parser


def write_lists(data: Path, folder: Path, number: int) -> dict[int, Path]:
    """Lists of 1, ``number`` and twice ``number`` files of 3 s."""
    loaded, paths = DataDir.load(data), []
    for one in loaded.utterances:
        samples = audio.read(loaded.recordings[one.segment.rec_id], one.segment, RATE).samples
        for start in range(0, len(samples) - int(CLIP_S * RATE), int(CLIP_S * RATE)):
            path = folder / f"{len(paths):05}.wav"
            soundfile.write(path, samples[start : start + int(CLIP_S * RATE)], RATE, subtype="PCM_16")
            paths.append(path)
            if len(paths) == 2 * number:
                break
        if len(paths) == 2 * number:
            break
    lists = {}
    for size in (1, number, 2 * number):
        lists[size] = folder / f"wav{size}.scp"
        lists[size].write_text("".join(f"utt{n:05} {path}\n" for n, path in enumerate(paths[:size])))
    return lists


class Row:
    """One way to embed a list, as a process."""

    def __init__(self, name: str, command: Sequence[str], cores: int) -> None:
        self.name, self.command, self.cores = name, list(command), cores
        self.seconds: dict[int, float] = {}
        self.peak_mib = 0.0
        self.embedding: np.ndarray | None = None

    def run(self, size: int, scp: Path, folder: Path) -> None:
        """Embed ``scp``, of ``size`` files; the least time of all calls is kept."""
        out = folder / f"{self.name.replace(' ', '_')}.{size}.npy"
        command = [one.format(scp=scp, out=out, threads=self.cores) for one in self.command]
        start = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", f"0-{self.cores - 1}", *command],
            env={**os.environ, "OMP_NUM_THREADS": str(self.cores)},
            stdout=subprocess.DEVNULL,
        )
        while process.poll() is None:
            self._watch(process.pid)
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"{self.name}: status {process.returncode}")
        self.seconds[size] = min(seconds, self.seconds.get(size, np.inf))
        self.embedding = np.load(out) if out.exists() else _of_text(Path(f"{out}.scp"))

    def _watch(self, pid: int) -> None:
        """Keep the peak; what the system tells at the end would count the parent's memory too."""
        try:
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        except OSError:  # it has ended
            return
        self.peak_mib = max(self.peak_mib, int(found[1]) / 1024 if found else 0)


def _of_text(scp: Path) -> np.ndarray:
    """The last embedding of the engine's list."""
    path = scp.read_text().splitlines()[-1].split()[1]
    return np.array(Path(path).read_text().split(), dtype=np.float64)


def rows(arguments: argparse.Namespace, model: Path) -> list[Row]:
    """What is measured."""
    program = str(arguments.build / "bin/extract_speaker_embedding")
    listed = ["-", str(model), "{scp}", "{out}.scp", "{out}.folder", "--threads", "{threads}"]
    cores = arguments.cores
    found = [
        Row("engine, ONNX Runtime", [program, *listed], cores),
        Row("engine, OpenVINO", [program, *listed, "--engine", "openvino"], cores),
        Row(
            "engine, OpenVINO bf16", [program, *listed, "--engine", "openvino", "--precision", "bf16"], cores
        ),
        Row("Python, ONNX Runtime", [sys.executable, "-c", OURS_PYTHON, arguments.model, *_THREE], cores),
        Row("sherpa-onnx", [sys.executable, "-c", SHERPA, str(model), *_THREE], cores),
    ]
    if cores > 1:
        jobs = [program, *listed[:-2], "--threads", "1", "--jobs", "{threads}"]
        found.insert(1, Row("engine, ONNX Runtime, jobs", jobs, cores))
    return found


_THREE = ("{scp}", "{threads}", "{out}")


def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        lists = write_lists(arguments.data, folder, arguments.clips)
        peer_pipelines.write_published(published.TABLE[arguments.model], folder / "models")
        measured = rows(arguments, folder / "models" / peer_pipelines.SHERPA)
        for turn in range(arguments.repeats):
            for row in measured:
                for size, scp in lists.items():
                    own = folder / f"turn{turn}"  # the engine would go on with a list that is done
                    own.mkdir(exist_ok=True)
                    row.run(size, scp, own)
        report(arguments, measured)


def report(arguments: argparse.Namespace, measured: Sequence[Row]) -> None:
    """The table, and how well the embeddings agree."""
    print(f"{arguments.model}, {arguments.cores} cores, {arguments.clips} clips of {CLIP_S:g} s")
    print("| | real-time factor | times sherpa-onnx | first, s | peak, MiB | cosine |")
    print("|---|---|---|---|---|---|")
    factors = {}
    for row in measured:
        extra = row.seconds[2 * arguments.clips] - row.seconds[arguments.clips]
        factors[row.name] = extra / (arguments.clips * CLIP_S)
    (expected,) = (row.embedding for row in measured if row.name.startswith("Python"))
    for row in measured:
        cosine = row.embedding @ expected / np.linalg.norm(row.embedding) / np.linalg.norm(expected)
        share = factors["sherpa-onnx"] / factors[row.name]
        figures = f"{factors[row.name]:.5f} | {share:.2f} | {row.seconds[1]:.2f} | {row.peak_mib:.0f}"
        print(f"| {row.name} | {figures} | {cosine:.6f} |")
    if arguments.model in THEIRS:
        print(f"3D-Speaker's engine states {THEIRS[arguments.model]} for another processor")


if __name__ == "__main__":
    entry.run(main, options())
