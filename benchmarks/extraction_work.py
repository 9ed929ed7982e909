"""What extraction_backends.py measures on: a network, the files, and whether all that is measured agrees.

``work = Work("campplus", scratch, chosen_files(data, 40), arguments)``; ``check(work, peers, expected)``.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peer_pipelines
import torch
from torch.utils.flop_counter import FlopCounterMode

from speakerlab.cache import user_cache
from speakerlab.data.datadir import DataDir
from speakerlab.embed import graph_loss, graphs
from speakerlab.embed.extraction import embeddings
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.graph_cache import GraphCache
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.hub import bundle, onnx_file, onnx_metadata, onnx_precision, published
from speakerlab.io import audio
from speakerlab.io.ark import ArkWriter
from speakerlab.pipeline import embedding, outputs, sources

LEAST_COSINE = 0.999  # between embeddings of equal computations


class Work:
    """One network and the files it is measured on, with everything they need in ``scratch``."""

    def __init__(self, name: str, scratch: Path, files: Mapping[str, str], given: argparse.Namespace) -> None:
        self.name, self.scratch, self.files, self.paths = name, scratch, files, list(files.values())
        self.entry = published.TABLE[given.published] if given.published else None
        self.calibration: Path | None = given.calibration_data
        self.models = scratch / "models"
        self.models.mkdir(parents=True)
        self.cache = scratch / "cache" / "speakerlab"
        if self.entry is None:
            peer_pipelines.write_models(name, self.paths, self.models)
        else:
            peer_pipelines.write_published(self.entry, self.models)
            self.cache.mkdir(parents=True)
            (self.cache / "models").symlink_to(user_cache() / "models")
        self.bundle = bundle.load(self.models / "ours")
        self.data = DataDir.load(self.data_dir(1))
        self.audio_s = sum(audio.duration_s(recording) for recording in self.data.recordings.values())
        self.feats = [peer_pipelines.features(path).numpy() for path in self.paths]

    def data_dir(self, copies: int) -> Path:
        """A data dir that lists the files so many times."""
        path = self.scratch / f"data{copies}"
        if not path.exists():
            path.mkdir()
            lines = (
                f"{n:05d}-{utt_id} {file}\n" for n in range(copies) for utt_id, file in self.files.items()
            )
            (path / "wav.scp").write_text("".join(lines))
        return path

    def ours(self, extractor: Extractor) -> None:
        """From audio files to ark in this process."""
        inputs = UtteranceInputs(self.data, extractor, feats_type="raw", use_vad=False)
        with ArkWriter(self.scratch / "o.ark", self.scratch / "o.scp") as writer:
            for utt_id, found in embeddings(self.data.utterances, inputs, extractor, 1):
                if isinstance(found, AudioError):
                    raise found
                writer.write(utt_id, found)

    def by_command(self, graph: WaveformGraph) -> list[Any]:
        """What ``speakerlab embed`` does with a list, in this process."""
        listed = sources.find(str(self.data_dir(1) / "wav.scp"), 16000).sources
        found = embedding.embed(list(listed.items()), graph, embedding.EmbedOptions())
        result = dict(zip(listed, found, strict=True))
        outputs.write(self.scratch / "embed", [result], {})
        return [one.embedding for one in result.values()]

    def int8_graph(self) -> Path:
        """The network in int8; random weights lose more than trained ones."""
        path = self.scratch / "int8.onnx"
        if not path.exists():
            shutil.copy(graphs.exported(self.bundle, GraphCache(self.cache)), path)
            feats: Iterator[Any] = iter(self.feats)
            if self.calibration is not None:
                feats = graph_loss.excerpts(self.bundle, DataDir.load(self.calibration))
            onnx_precision.reduce_precision(path, "int8", feats)
            onnx_file.write(path, {**onnx_metadata.describe(self.bundle), "precision": "int8"})
        return path

    def bare(self, session: Any) -> list[Any]:
        """The network alone."""
        return [session.run(None, {"feature": feats[None]})[0] for feats in self.feats]

    def flops(self) -> float:
        """Floating-point operations of the network on all files."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for feats in self.feats:
                self.bundle.model(torch.from_numpy(feats)[None])
        return float(counter.get_total_flops())


def chosen_files(data: DataDir, num_utts: int) -> dict[str, str]:
    """Audio file by utterance id.

    Raises:
        SpeakerLabError: utterances are stretches or channels of files, or come from commands.
    """
    step = max(1, len(data.utterances) // num_utts) if num_utts else 1
    files = {}
    for utterance in data.utterances[::step][: num_utts or None]:
        recording, piece = data.recordings[utterance.segment.rec_id], utterance.segment
        if recording.is_pipe or piece.start_s or piece.end_s is not None:
            raise SpeakerLabError(f"{piece.utt_id} is no whole audio file; the peers read nothing else")
        files[str(piece.utt_id)] = str(Path(recording.source).resolve())
    return files


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def embedded(work: Work, extractor: Extractor) -> list[Any]:
    """Embeddings of the files by ours."""
    inputs = UtteranceInputs(work.data, extractor, feats_type="raw", use_vad=False)
    return [extractor.session.embed([inputs[utterance]]) for utterance in work.data.utterances]


@torch.no_grad()
def check(work: Work, peers: Mapping[str, peer_pipelines.Peer], expected: Sequence[Any]) -> dict[str, float]:
    """Print how near each peer's embeddings are to those of our extraction; the least cosines from audio.

    Raises:
        SpeakerLabError: a peer, or its network, does not compute what it should.
    """
    wholes = {}
    for name, peer in peers.items():
        found = [peer.embed(path) for path in work.paths]
        wholes[name] = min(map(cosine, found, expected))
        same, how = _like_for_like(work, peer, found, expected)
        print(f"- {name}: least cosine to ours: from audio {wholes[name]:.5f}, {how} {same:.5f}", end="")
        print(peer.differs and f"; {peer.differs}")
        if same < LEAST_COSINE or (wholes[name] < LEAST_COSINE and not peer.differs):
            raise SpeakerLabError(f"{name} does not compute what ours does for {work.name}")
    return wholes


def _like_for_like(
    work: Work, peer: peer_pipelines.Peer, found: Sequence[Any], expected: Sequence[Any]
) -> tuple[float, str]:
    """The least cosine of what must be equal, and what that is."""
    if peer.network is None:  # only its features differ: ours with these
        config = work.bundle.config
        like_theirs = dataclasses.replace(peer.frontend, scale=config.frontend.config.scale)
        frontend = dataclasses.replace(config.frontend, config=like_theirs)
        theirs = Extractor(dataclasses.replace(config, frontend=frontend), work.bundle.model)
        return min(map(cosine, found, embedded(work, theirs))), "to ours with its features"
    size = sum(parameter.numel() for parameter in peer.network.parameters())
    networks = [peer.network(torch.from_numpy(feats)[None]) for feats in work.feats]
    if peer.has_relu:
        expected = [np.maximum(one, 0) for one in expected]
    how = f"network ({size:,} parameters{', ours with a ReLU' if peer.has_relu else ''})"
    return min(map(cosine, networks, expected)), how
