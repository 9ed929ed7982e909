#!/usr/bin/env python3
"""Calibrate a published model on real speech: what stands in speakerlab/hub/calibrations/NAME.json.

CORPUS holds train-libri and train-zh-words; no evaluation set is read. The trials are all pairs of two pieces
of each recording of train-libri, 1.5 s to half of it long, and of words of one speaker of train-zh-words, two
to eight joined. The threshold is that of even odds.

Example: python egs/published/calibrate.py CORPUS campplus speakerlab/hub/calibrations/campplus.json
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np

from speakerlab.backend import calibration as logistic
from speakerlab.backend.calibration_inputs import Inputs
from speakerlab.bin import entry, session_arguments
from speakerlab.data.datadir import DataDir
from speakerlab.errors import AudioError
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.conditions import Conditions
from speakerlab.hub.load import load_model
from speakerlab.io import atomic, audio
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline import pipeline
from speakerlab.pipeline.embedding import Embedded, embed
from speakerlab.pipeline.sources import find_one
from speakerlab.types import Float32Array, ScoreTable, TrialList

RATE = 16000
SETS = ("train-libri", "train-zh-words")
WORDS = (2, 3, 4, 6, 8)  # so many are joined
SHORTEST_S = 1.5
DOMAIN = "clean wide-band speech"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "corpus", metavar="CORPUS", type=Path, help="folder of train-libri and train-zh-words"
    )
    parser.add_argument("model", metavar="NAME", help="published model")
    parser.add_argument("out", metavar="OUT", type=Path, help="JSON file to write")
    session_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Embed the pieces, train, write."""
    model = load_model(arguments.model)
    network = pipeline(model=model, ngpu=0, running=session_arguments.config(arguments))
    speakers, sources = [], []
    for number, (speaker, samples) in enumerate(pieces(arguments.corpus)):
        speakers.append(speaker)
        sources.append((str(number), find_one(samples, RATE)))
    heard = list(embed(sources, network.embedder, network.options))
    kept = [(who, found) for who, found in zip(speakers, heard, strict=True) if is_usable(found)]
    trials = all_pairs([who for who, _ in kept], np.stack([found.embedding for _, found in kept]))
    trained = logistic.train(Inputs.of({"cosine": trials}))
    (scale,), offset = trained.raw_scales()
    known = trained.provenance
    calibration = Calibration(
        scale=scale,
        offset=offset,
        point_name="even odds",
        point=OperatingPoint(0.5),
        prior=trained.prior,
        trials=known.trials,
        num_targets=known.num_targets,
        num_nontargets=known.num_nontargets,
        domain=DOMAIN,
        conditions=Conditions.of(found.heard.speech for _, found in kept),
    ).counted(trials)
    content = {"model": model.content_hash, **dataclasses.asdict(calibration)}
    atomic.write_text(arguments.out, json.dumps(content, indent=2) + "\n")
    print(
        f"{arguments.out}: {len(kept)} pieces, Cllr {trained.cost:.4f}, threshold {calibration.threshold:.4f}"
    )


def is_usable(found: Embedded | AudioError) -> bool:
    """Whether there is an embedding, and speech enough to decide on."""
    return isinstance(found, Embedded) and not found.heard.speech.reasons


def pieces(corpus: Path) -> Iterator[tuple[str, Float32Array]]:
    """A speaker and samples at 16 kHz of each piece, the same whenever they are drawn."""
    libri, words = SETS
    for speaker, utt_id, samples in utterances(corpus / libri):
        if len(samples) >= 3 * SHORTEST_S * RATE:
            for piece in two_pieces(samples, generator(utt_id)):
                yield speaker, piece
    by_speaker: dict[str, list[Float32Array]] = {}
    for speaker, _, samples in utterances(corpus / words):
        by_speaker.setdefault(speaker, []).append(samples)
    for speaker, spoken in by_speaker.items():
        for piece in joined(spoken, generator(speaker)):
            yield speaker, piece


def utterances(folder: Path) -> Iterator[tuple[str, str, Float32Array]]:
    """Speaker, id and samples of each utterance of a data dir."""
    data = DataDir.load(folder)
    for one in data.utterances:
        yield str(one.spk_id), one.utt_id, audio.read(data.recordings[one.segment.rec_id], None, RATE).samples


def two_pieces(samples: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """Two pieces that share no sample, each from ``SHORTEST_S`` to half, short ones more often."""
    size = len(samples)
    first, second = np.exp(rng.uniform(np.log(SHORTEST_S * RATE), np.log(size / 2), 2)).astype(int)
    before = int(rng.uniform(0, (size - first - second) / 2))
    return samples[before : before + first], samples[size - before - second : size - before]


def joined(spoken: list[Float32Array], rng: np.random.Generator) -> Iterator[Float32Array]:
    """Words of one speaker, each once, some at a time."""
    order = rng.permutation(len(spoken)).tolist()
    while len(order) >= min(WORDS):
        count = int(rng.choice(WORDS))
        yield np.concatenate([spoken[word] for word in order[:count]])
        order = order[count:]


def generator(name: str) -> np.random.Generator:
    """Random numbers that depend on ``name`` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def all_pairs(speakers: list[str], embeddings: Float32Array) -> ScoreTable:
    """Cosines of every two pieces, labelled."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(unit), 1)
    names = np.array(speakers)
    labels = (names[first] == names[second]).astype(np.int8)
    ids = [str(number) for number in range(len(unit))]
    trials = TrialList([ids[n] for n in first], [ids[n] for n in second], labels, " and ".join(SETS))
    return ScoreTable(trials, np.einsum("ij,ij->i", unit[first], unit[second]).astype(np.float64))


if __name__ == "__main__":
    entry.run(main, options())
