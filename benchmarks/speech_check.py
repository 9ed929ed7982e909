"""How the speech check judges recordings of talkers and of noise: counts per data dir, and its speed.

White noise is added at --snr-db where given. One thread.

Example: python benchmarks/speech_check.py corpus/eval-libri corpus/noise
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.embed.speech_check import check
from speakerlab.io import audio
from speakerlab.types import Waveform


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="Kaldi data dirs")
    parser.add_argument("--snr-db", type=float, help="white noise this much below each recording")
    parser.add_argument("--list", action="store_true", help="name what is flagged")
    return parser


def noisy(waveform: Waveform, snr_db: float, rng: np.random.Generator) -> Waveform:
    level = np.sqrt(np.mean(waveform.samples**2)) * 10 ** (-snr_db / 20)
    noise = level * rng.standard_normal(len(waveform.samples)).astype(np.float32)
    return Waveform(np.clip(waveform.samples + noise, -1, 1), waveform.sample_rate)


def main(arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    print(f"{'data':<24} {'recordings':>10} {'flagged':>8} {'real-time factor':>17}")
    for path in arguments.data:
        data = DataDir.load(path)
        flagged, seconds, audio_s = [], 0.0, 0.0
        for utterance in data.utterances:
            waveform = audio.read(data.recordings[utterance.segment.rec_id], utterance.segment)
            if arguments.snr_db is not None:
                waveform = noisy(waveform, arguments.snr_db, rng)
            start = time.perf_counter()
            found = check(waveform)
            seconds += time.perf_counter() - start
            audio_s += waveform.duration_s
            if found.reasons:
                flagged.append(f"  {utterance.utt_id}: {'; '.join(found.reasons)}")
        print(f"{path!s:<24} {len(data.utterances):>10} {len(flagged):>8} {seconds / audio_s:>17.5f}")
        if arguments.list:
            print(*flagged, sep="\n")


if __name__ == "__main__":
    entry.run(main, options())
