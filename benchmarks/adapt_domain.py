"""Decisions of a published model in simulated channels: by its own calibration, and adapted without labels.

Speech is that of train-libri under CORPUS: 251 people, each recording cut in two. In each of ten divisions
the first halves of --num-people people, unlabelled, adapt the model; all pairs of halves of the others are
decided. Printed are, in percent, false acceptance (FA) and false rejection (FR): at a fixed cosine of 0.31,
at the model's own threshold, and adapted, as mean and worst of the divisions; and the share of recordings
that the model's own calibration refuses. Noises and rooms of CORPUS make the far microphone.

Example: python benchmarks/adapt_domain.py CORPUS --false-accept 0.01
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from speakerlab.bin import session_arguments
from speakerlab.data.datadir import DataDir
from speakerlab.hub.load import load_model
from speakerlab.io import audio
from speakerlab.pipeline import adapting, pipeline
from speakerlab.pipeline.adapting import Voices
from speakerlab.pipeline.decision import threshold_of, unit
from speakerlab.pipeline.embedding import Embedded, embed
from speakerlab.pipeline.sources import find_one

RATE, NARROW = 16000, 8000
NUM_DIVISIONS = 10
FIXED = 0.31  # of a sibling of the published model, by its publisher
Samples = np.ndarray


def read_set(folder: Path) -> dict[str, Samples]:
    data = DataDir.load(folder)
    return {
        one.utt_id: audio.read(data.recordings[one.segment.rec_id], None, RATE).samples
        for one in data.utterances
    }


def coded(samples: Samples, rate: int, kind: str, subtype: str, **options: float) -> Samples:
    """``samples`` through a codec of libsndfile; a little is lost at the end of some."""
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), rate, format=kind, subtype=subtype, **options)
    stream.seek(0)
    return soundfile.read(stream, dtype="float32")[0][: len(samples)]


def narrow(samples: Samples, kind: str, subtype: str, band: tuple[float, float] | None = None) -> Samples:
    """Through a codec at 8 kHz and back to 16 kHz, as telephone speech is often stored."""
    low = scipy.signal.resample_poly(samples, 1, 2)
    if band:
        low = scipy.signal.sosfilt(scipy.signal.butter(4, band, "bandpass", fs=NARROW, output="sos"), low)
    return scipy.signal.resample_poly(coded(low, NARROW, kind, subtype), 2, 1)


class FarMicrophone:
    """A room, then a noise 15 to 25 dB below the speech; which ones depends on the recording alone."""

    def __init__(self, corpus: Path) -> None:
        self._noises, self._rooms = (list(read_set(corpus / name).values()) for name in ("noise", "rir"))

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """``samples`` as that microphone has them."""
        room = self._rooms[rng.integers(len(self._rooms))]
        heard = scipy.signal.fftconvolve(samples, room)[: len(samples)]
        heard = heard * (0.5 * rms(samples) / rms(heard))
        noise = np.resize(self._noises[rng.integers(len(self._noises))], len(samples))
        gain = rms(heard) / max(rms(noise), 1e-6) / 10 ** (rng.uniform(15, 25) / 20)
        return heard + gain * noise


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def channels(corpus: Path) -> dict[str, Callable[[Samples, np.random.Generator], Samples]]:
    return {
        "as recorded": lambda samples, _: samples,
        "telephone, mu-law": lambda samples, _: narrow(samples, "WAV", "ULAW", (300, 3400)),
        "GSM 06.10": lambda samples, _: narrow(samples, "WAV", "GSM610"),
        "Opus, lowest rate": lambda samples, _: coded(samples, RATE, "OGG", "OPUS", compression_level=1.0),
        "far microphone": FarMicrophone(corpus),
    }


def halves(samples: Samples) -> tuple[Samples, Samples]:
    return samples[: len(samples) // 2], samples[len(samples) // 2 :]


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def decided(scores: Samples, people: Samples, threshold: float) -> tuple[float, float]:
    """False acceptance and rejection, in percent, of all pairs of [N, N] scores."""
    pairs = np.triu_indices(len(people), 1)
    same, accepted = (people[:, None] == people)[pairs], scores[pairs] >= threshold
    return 100 * float(accepted[~same].mean()), 100 * float((~accepted[same]).mean())


def division(
    heard: list[Embedded], people: Samples, chosen: Samples, arguments: argparse.Namespace
) -> tuple[float, float]:
    """FA and FR of the model adapted to the first halves of ``chosen``, over the other people."""
    matrix = np.stack([one.embedding for one in heard])
    _, firsts = np.unique(people, return_index=True)
    rows = firsts[np.isin(people[firsts], chosen)]
    checks = [heard[row].heard.speech for row in rows]
    ids = tuple(str(row) for row in rows)
    found = adapting.adapt(
        Voices("train-libri", ids, matrix[rows], checks), arguments.false_accept, "simulated"
    )
    others = ~np.isin(people, chosen)
    centred = found.norm.centred(matrix[others])
    return decided(found.norm.scores(centred, centred), people[others], found.threshold)


def row(name: str, heard: list[Embedded], people: Samples, arguments: argparse.Namespace, own: object) -> str:
    matrix = np.stack([one.embedding for one in heard])
    cosines = unit(matrix) @ unit(matrix).T
    refused = 100 * np.mean([bool(own.outside(one.heard.speech)) for one in heard])
    plain = [decided(cosines, people, threshold) for threshold in (FIXED, own.score)]
    rates = np.array(
        [
            division(
                heard,
                people,
                generator(f"{n}").permutation(np.unique(people))[: arguments.num_people],
                arguments,
            )
            for n in range(NUM_DIVISIONS)
        ]
    )
    cells = [name, *(f"{fa:.2f} / {fr:.2f}" for fa, fr in plain), f"{refused:.1f}"]
    cells += [f"{column.mean():.2f} ({column.max():.2f})" for column in rates.T]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", metavar="CORPUS", type=Path)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--num-people", type=int, default=41, help="whose recordings adapt the model")
    parser.add_argument("--false-accept", type=float, default=0.01)
    session_arguments.add(parser)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    network = pipeline(model=model, ngpu=0, running=session_arguments.config(arguments))
    own = threshold_of(model, None)
    data = DataDir.load(arguments.corpus / "train-libri")
    speakers = {one.utt_id: str(one.spk_id) for one in data.utterances}
    print(
        f"| channel | FA / FR at {FIXED} | FA / FR at {own.score:.3f} | refused | adapted FA | adapted FR |"
    )
    print("|---|---|---|---|---|---|")
    recorded = read_set(arguments.corpus / "train-libri")
    for name, channel in channels(arguments.corpus).items():
        sources, people = [], []
        for utt_id, samples in recorded.items():
            for number, half in enumerate(halves(samples)):
                key = f"{utt_id}-{number}"
                through = np.clip(channel(half, generator(key)), -1, 1).astype(np.float32)
                sources.append((key, find_one(through, RATE)))
                people.append(speakers[utt_id])
        found = list(embed(sources, network.embedder, network.options))
        usable = [
            n for n, one in enumerate(found) if isinstance(one, Embedded) and not one.heard.speech.reasons
        ]
        print(row(name, [found[n] for n in usable], np.array(people)[usable], arguments, own), flush=True)


if __name__ == "__main__":
    main()
