"""Seconds that `speakerlab verify` takes, start-up included: whole processes.

Printed are the median and the least of several runs: with no model named, that is the published one from its
cache; with its bundle; with a bundle of random weights and the file exported of it; of a process that only
imports torch. The cosines of the first two agree to 1e-4, or the benchmark fails.

Example: python benchmarks/verify_speakers.py a.wav b.wav
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from speakerlab import config as config_io
from speakerlab.bin import entry
from speakerlab.errors import SpeakerLabError
from speakerlab.hub import bundle

AGREEMENT = 1e-4


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("first", help="recording")
    parser.add_argument("second", help="recording")
    parser.add_argument("--repeats", type=int, default=10, help="runs of each, in turn")
    return parser


def cosine(command: Sequence[str]) -> float:
    """The cosine that a call of `speakerlab verify` answers with; afterwards its model is in the cache."""
    done = subprocess.run([*command, "--json"], check=False, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout)["cosine"])


def published(first: str, second: str) -> dict[str, list[str]]:
    """Calls with the published model, as kept and as a bundle, whose answers are the same.

    Raises:
        SpeakerLabError: they are not.
    """
    speakerlab = [sys.executable, "-m", "speakerlab.cli"]
    kept = [*speakerlab, "verify", first, second]
    found = cosine(kept)
    fetched = subprocess.run([*speakerlab, "fetch", "campplus", "--json"], check=True, capture_output=True)
    bundled = [*kept, "--model", json.loads(fetched.stdout)["path"]]
    if abs(found - cosine(bundled)) > AGREEMENT:
        raise SpeakerLabError(f"no model named: cosine {found:.6f}; its bundle: {cosine(bundled):.6f}")
    return {"verify, no model named": kept, "verify, its bundle": bundled}


def seconds(command: Sequence[str]) -> float:
    """Seconds of a process.

    Raises:
        SpeakerLabError: it failed; a decision is no failure.
    """
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    passed = time.perf_counter() - start
    if done.returncode not in {0, 3, 4}:
        raise SpeakerLabError(done.stderr.strip())
    return passed


def main(arguments: argparse.Namespace) -> None:
    config = config_io.from_mapping(bundle.EmbedderConfig, {"model": {"name": "campplus"}}, "benchmark")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        bundle.save(path, config.model.build(feat_dim=80), config, 80, {"weights": "random"})
        speakerlab = [sys.executable, "-m", "speakerlab.cli"]
        graph = f"{path}.onnx"
        seconds([*speakerlab, "export", "--input", "waveform", str(path), graph])
        verify = [*speakerlab, "verify", arguments.first, arguments.second, "--model"]
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            **published(arguments.first, arguments.second),
            "verify, random bundle": [*verify, str(path)],
            "verify, exported file": [*verify, graph],
        }
        for command in commands.values():
            seconds(command)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.repeats):
            for name, command in commands.items():
                times[name].append(seconds(command))
    print(f"{arguments.repeats} runs, {torch.get_num_threads()} threads")
    for name, found in times.items():
        print(f"{name:22} median {statistics.median(found):.2f} s, least {min(found):.2f} s")


if __name__ == "__main__":
    entry.run(main, options())
