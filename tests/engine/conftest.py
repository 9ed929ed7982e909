"""The engine that tests/engine/run.sh built, and recordings made here."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

BUILD = Path(os.environ["SPEAKERLAB_TEST_ENGINE"])  # tests/engine/run.sh builds it
ASSETS = Path(__file__).parents[2] / "runtime/onnxruntime/assets"
RATE = 16000


def run(program, *arguments, check=0, **options):
    """What ``program`` of the engine prints; its exit status must be ``check``."""
    command = [str(BUILD / "bin" / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == check, f"{command} gives {done.returncode}: {done.stderr}"
    return done


def voiced(seconds, seed=0, level=0.1):
    """Samples [S] that resemble a voice: harmonics of a gliding pitch under a moving spectrum, and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    centre = 900 + 600 * np.sin(2 * np.pi * 1.9 * time)
    harmonics = [
        np.exp(-(((number * pitch - centre) / 500) ** 2)) * np.sin(number * phase) for number in range(1, 30)
    ]
    samples = sum(harmonics) + 0.05 * rng.standard_normal(len(time))
    return (level * samples / np.abs(samples).max()).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    """Writes samples as a WAV file and gives its path."""

    def write(name, samples, rate=RATE, subtype="PCM_16"):
        path = tmp_path / name
        if subtype == "PCM_16":
            samples = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
        soundfile.write(path, samples, rate, format="WAV", subtype=subtype)
        return path

    return write


@pytest.fixture
def scp(tmp_path):
    """Writes a list and gives its path."""

    def write(entries, name="wav.scp"):
        path = tmp_path / name
        path.write_text("".join(f"{key} {source}\n" for key, source in entries.items()))
        return path

    return write
