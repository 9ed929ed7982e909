"""What many tests use: toy voices (of own pitch and resonances), talkers, a tiny model, commands, stores."""

import contextlib
import os
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from speakerlab import cli
from speakerlab import config as config_io
from speakerlab.hub import bundle
from speakerlab.io import audio
from speakerlab.types import Waveform

RATE = 16000
TINY = {"model": {"name": "tdnn", "channels": [16, 16, 16, 16, 32], "embed_dim": 8}}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def toy_voice(speaker, utterance, seconds):
    """Samples of ``speaker``: a pulse train of its pitch through its resonances, with noise."""
    rng = np.random.default_rng((speaker, utterance))
    pitch_hz = 90 + 23 * speaker + rng.uniform(-3, 3)
    size = int(seconds * RATE)
    pulses = signal.square(2 * np.pi * pitch_hz * np.arange(size) / RATE, duty=0.1)
    loudness = np.repeat(rng.uniform(0.3, 1.0, size // 1600 + 1), 1600)[:size]
    samples = pulses * loudness + 0.05 * rng.standard_normal(size)
    for formant_hz in (400 + 60 * speaker, 1500 + 110 * speaker):
        b, a = signal.iirpeak(formant_hz, 5, fs=RATE)
        samples = samples + 3 * signal.lfilter(b, a, samples)
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def write_toy_data(path: Path, speakers, utterances):
    """A Kaldi data dir with trials of all pairs."""
    path.mkdir(parents=True)
    ids = []
    with (path / "wav.scp").open("w") as wav, (path / "utt2spk").open("w") as utt2spk:
        for speaker in speakers:
            for number in range(utterances):
                utt_id = f"s{speaker:02d}-u{number}"
                samples = toy_voice(speaker, number, 1.2 + 0.37 * ((speaker + number) % 4))
                audio.write(path / "audio" / f"{utt_id}.wav", Waveform(samples, RATE))
                wav.write(f"{utt_id} audio/{utt_id}.wav\n")
                utt2spk.write(f"{utt_id} s{speaker:02d}\n")
                ids.append(utt_id)
    (path / "domain").write_text("toy voices\n")
    pairs = [(a, b) for n, a in enumerate(ids) for b in ids[n + 1 :]]
    lines = (f"{a} {b} {'target' if a[:3] == b[:3] else 'nontarget'}\n" for a, b in pairs)
    (path / "trials").write_text("".join(lines))
    return path


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """``train`` (8 speakers x 4) and ``test`` (5 other speakers x 3) in one folder."""
    root = tmp_path_factory.mktemp("toy")
    write_toy_data(root / "train", range(8), 4)
    write_toy_data(root / "test", range(10, 15), 3)
    return root


@pytest.fixture(scope="session")
def talkers():
    """Two talkers of the demo corpus (eSpeak NG), two sentences of 4 to 6 s each, at 16 kHz."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "local"))
    import synthesis
    from voices import draw_voices

    sentences = (
        "Good morning, the quick brown fox jumps over the lazy dog, and then it sleeps.",
        "Seven red apples fell on a small green table in the middle of the night.",
    )
    with synthesis.synthesizer() as speech:
        voices = draw_voices(2, np.random.default_rng(0))
        return [
            [Waveform(speech.say(text, voice).astype(np.float32), RATE) for text in sentences]
            for voice in voices
        ]


def save_tiny(path: Path, seed=0, **kwargs):
    """A bundle of a network of a few thousand random weights, at ``path``, which is returned."""
    config = config_io.from_mapping(bundle.EmbedderConfig, TINY, "test")
    torch.manual_seed(seed)
    bundle.save(path, config.model.build(feat_dim=80), config, 80, {}, **kwargs)
    return path


def speakerlab(*arguments):
    """Exit status of ``speakerlab ARGUMENTS``, called as the shell does, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["speakerlab", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0
    return 0


FREE_DATABASES = []  # of this process, empty again: a new one takes a second


@contextlib.contextmanager
def new_place(folder: Path):
    """Where a voiceprint store can be made: a file in ``folder``.

    tests/postgresql/run.sh names a server, and runs the tests of the store again: then it is a new database.
    """
    server = os.environ.get("SPEAKERLAB_TEST_POSTGRESQL")
    if not server:
        yield str(folder / "people.db")
        return
    import psycopg

    if not FREE_DATABASES:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            FREE_DATABASES.append(f"test_{uuid.uuid4().hex}")
            connection.execute(f"CREATE DATABASE {FREE_DATABASES[-1]}")
    name = FREE_DATABASES.pop()
    try:
        yield f"{server}/{name}"
    finally:
        with psycopg.connect(f"{server}/{name}", autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA IF EXISTS voiceprints CASCADE")
        FREE_DATABASES.append(name)


@pytest.fixture
def place(tmp_path):
    """A place of ``new_place``, with nothing there."""
    with new_place(tmp_path) as found:
        yield found
