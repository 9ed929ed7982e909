"""One speaker's recordings: several sessions, each with its own text, room, microphone and noise.

``record_speaker(Task(...))`` writes FLAC files and returns what the tables need; it is a process's only work,
see synthesis.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from channel import SAMPLE_RATE, Samples, Session, draw_noise, draw_session
from sentences import sentence
from synthesis import Synthesizer, synthesizer
from voices import Voice, draw_voice

from speakerlab.errors import SpeakerLabError
from speakerlab.io import audio
from speakerlab.types import Waveform

SHORTEST_S, LONGEST_S = 2.5, 5.0
NUM_TALKERS = 3  # in babble


@dataclass(frozen=True)
class Task:
    """What a worker is told: who speaks, how often, where to write and from which seed."""

    spk_id: str
    voice: Voice
    num_sessions: tuple[int, int]  # fewest and most
    utts_per_session: int
    audio_dir: Path
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Utt:
    """A written file: id, session number and seconds."""

    utt_id: str
    session: int
    duration_s: float


def record_speaker(task: Task) -> list[Utt]:
    """Synthesise, record and write every utterance of one speaker.

    Raises:
        SpeakerLabError: the synthesiser is not installed or fails, a recording is silent or clipped.
    """
    (task.audio_dir / task.spk_id).mkdir(parents=True)
    try:
        with synthesizer() as speech:
            return list(record_sessions(task, speech))
    except SpeakerLabError as error:
        raise SpeakerLabError(str(error)) from None  # its subclasses do not reach another process


def record_sessions(task: Task, speech: Synthesizer) -> Iterator[Utt]:
    """Write the utterances one by one."""
    rng = np.random.default_rng(task.seed)
    fewest, most = task.num_sessions
    for session in range(1, int(rng.integers(fewest, most + 1)) + 1):
        voice, place = task.voice.in_session(rng), draw_session(rng)
        for number in range(1, task.utts_per_session + 1):
            utt_id = f"{task.spk_id}-{session:02d}-{number}"
            samples = record(speech, voice, place, rng)
            write(task.audio_dir / task.spk_id / f"{utt_id}.flac", samples)
            yield Utt(utt_id, session, len(samples) / SAMPLE_RATE)


def record(speech: Synthesizer, voice: Voice, place: Session, rng: np.random.Generator) -> Samples:
    """A sentence of ``SHORTEST_S`` to ``LONGEST_S`` in the session's room, float64 [S]."""
    clean = talk(speech, voice, rng.uniform(SHORTEST_S, LONGEST_S), rng)
    if place.noise_kind == "babble":
        noise = sum(other_talker(speech, len(clean), rng) for _ in range(NUM_TALKERS))
    else:
        noise = draw_noise(place.noise_kind, len(clean), rng)
    return place.record(clean, np.asarray(noise))


def other_talker(speech: Synthesizer, num_samples: int, rng: np.random.Generator) -> Samples:
    """A stranger talking in the background, float64 [num_samples]."""
    voice = draw_voice(str(rng.choice(["m", "f"])), rng)
    return np.resize(talk(speech, voice, num_samples / SAMPLE_RATE, rng), num_samples)


def talk(speech: Synthesizer, voice: Voice, target_s: float, rng: np.random.Generator) -> Samples:
    """About ``target_s`` of speech, float64 [S], never outside ``SHORTEST_S`` to ``LONGEST_S``."""
    num_words = round(target_s * voice.words_per_minute / 60)
    while True:
        samples = speech.say(sentence(num_words, rng), voice)
        if len(samples) >= SHORTEST_S * SAMPLE_RATE:
            return samples[: int(LONGEST_S * SAMPLE_RATE)]
        num_words += 1


def write(path: Path, samples: Samples) -> None:
    """Write 16-bit FLAC after a last look at the signal."""
    peak = float(np.abs(samples).max())
    if not 0.001 < peak < 1.0:
        raise SpeakerLabError(
            f"{path.stem}: peaks at {peak:.4f}, silent or clipped; report this with the seed"
        )
    audio.write(path, Waveform(samples.astype(np.float32), SAMPLE_RATE))
