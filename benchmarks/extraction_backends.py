"""Extraction speed per network and back-end, one thread on one core, everything in turn in one process.

Rows: a loop as 3D-Speaker's (per utterance audio, fbank, eager network, ark); the bare network call of ONNX
Runtime on features that are ready; ours from audio file to ark with each back-end and precision; peers of
the same architecture from audio file to embedding, random weights, by their own entry points: ModelScope's
model class (what its pipeline calls), and for networks alone, after our fbank, SpeechBrain and mvector.
The least of several turns counts. Peers come from .peers, which tests/parity/run.sh fills.

Example: python benchmarks/extraction_backends.py --data data/demo/test --models campplus ecapa_tdnn
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / ".peers")]

import peers  # noqa: E402

from speakerlab import config as config_io  # noqa: E402
from speakerlab.bin import entry  # noqa: E402
from speakerlab.data.datadir import DataDir  # noqa: E402
from speakerlab.embed import graphs  # noqa: E402
from speakerlab.embed.extraction import embeddings  # noqa: E402
from speakerlab.embed.extractor import Extractor  # noqa: E402
from speakerlab.embed.graph_cache import GraphCache  # noqa: E402
from speakerlab.embed.inputs import UtteranceInputs  # noqa: E402
from speakerlab.embed.session import SessionConfig  # noqa: E402
from speakerlab.errors import AudioError, SpeakerLabError  # noqa: E402
from speakerlab.hub import bundle  # noqa: E402
from speakerlab.io import audio  # noqa: E402
from speakerlab.io.ark import ArkWriter  # noqa: E402

WIDE = [1024, 1024, 1024, 1024, 3072]
SETTINGS: dict[str, dict[str, Any]] = {
    "campplus": {},
    "eres2net": {},
    "eres2netv2": {},
    "ecapa_tdnn": {"channels": WIDE},
}
MODELSCOPE = {  # module, class, model_config
    "campplus": ("DTDNN", "CAMPPlus", {"fbank_dim": 80, "emb_size": 192}),
    "eres2net": ("ERes2Net", "ERes2Net", {"embed_dim": 192, "channels": 32}),
    "eres2netv2": (
        "ERes2NetV2",
        "ERes2NetV2",
        {"embed_dim": 192, "baseWidth": 26, "scale": 2, "expansion": 2},
    ),
    "ecapa_tdnn": ("ecapa_tdnn", "ECAPATDNN", {"channel": 1024}),
}
MVECTOR = {  # module, class, arguments
    "campplus": ("campplus", "CAMPPlus", {"embd_dim": 192}),
    "eres2net": ("eres2net", "ERes2Net", {}),
    "eres2netv2": ("eres2net", "ERes2NetV2", {"m_channels": 32}),
    "ecapa_tdnn": ("ecapa_tdnn", "EcapaTdnn", {"channels": WIDE}),
}
OURS = (("torch", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data dir")
    parser.add_argument(
        "--models", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="networks"
    )
    parser.add_argument("--num-utts", type=int, default=20, help="utterances, spread over the list; 0: all")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each; the least counts")
    return parser


class Work:
    """One network and the utterances it is measured on."""

    def __init__(self, name: str, data: DataDir, num_utts: int, scratch: Path) -> None:
        self.name, self.data, self.scratch = name, data, scratch
        step = max(1, len(data.utterances) // num_utts) if num_utts else 1
        self.utterances = data.utterances[::step][: num_utts or None]
        settings = {"model": {"name": name, **SETTINGS[name]}}
        config = config_io.from_mapping(bundle.EmbedderConfig, settings, "benchmark")
        torch.manual_seed(0)
        bundle.save(scratch / name, config.model.build(feat_dim=80), config, 80, {"weights": "random"})
        self.bundle = bundle.load(scratch / name)
        self.plain = Extractor.of_bundle(self.bundle)
        self.inputs = UtteranceInputs(data, self.plain, feats_type="raw", use_vad=False)
        self.feats = [self.inputs[utterance].numpy() for utterance in self.utterances]
        self.audio_s = sum(audio.duration_s(data.recordings[u.segment.rec_id]) for u in self.utterances)

    def waveform(self, utterance: Any) -> torch.Tensor:
        """Samples [S] of an utterance."""
        recording = self.data.recordings[utterance.segment.rec_id]
        return torch.from_numpy(audio.read(recording, utterance.segment, 16000).samples)

    @torch.no_grad()
    def loop(self) -> None:
        """As 3D-Speaker's extract.py."""
        with kaldiio.WriteHelper(f"ark,scp:{self.scratch}/p.ark,{self.scratch}/p.scp") as writer:
            for utterance in self.utterances:
                feats = self.inputs[utterance]
                writer(utterance.utt_id, self.bundle.model(feats[None]).numpy()[0])

    def bare(self, session: Any) -> None:
        """The network alone."""
        for feats in self.feats:
            session.run(None, {"feature": feats[None]})

    def ours(self, extractor: Extractor) -> None:
        """From audio file to ark."""
        inputs = UtteranceInputs(self.data, extractor, feats_type="raw", use_vad=False)
        with ArkWriter(self.scratch / "o.ark", self.scratch / "o.scp") as writer:
            for utt_id, found in embeddings(self.utterances, inputs, extractor, 1):
                if isinstance(found, AudioError):
                    raise found
                writer.write(utt_id, found)

    @torch.no_grad()
    def peer_of_audio(self, model: Callable[[torch.Tensor], Any]) -> None:
        """A peer that makes its own features."""
        for utterance in self.utterances:
            model(self.waveform(utterance)[None])

    @torch.no_grad()
    def peer_of_features(self, model: Callable[[torch.Tensor], Any]) -> None:
        """A peer's network after our features."""
        for utterance in self.utterances:
            model(self.inputs[utterance][None])


def modelscope(name: str, scratch: Path) -> Callable[[torch.Tensor], Any]:
    file, cls, settings = MODELSCOPE[name]
    made = getattr(peers.modelscope(file), f"SpeakerVerification{cls}")
    section = {"sample_rate": 16000, **settings}
    setattr(made, f"_SpeakerVerification{cls}__load_check_point", lambda *_: None)
    model: torch.nn.Module = made(str(scratch), section, device="cpu", pretrained_model="none").eval()
    return model


def methods(work: Work, cache: Path) -> dict[str, Callable[[], None]]:
    """What is timed, by name, in the order of the table."""
    import onnxruntime

    found: dict[str, Callable[[], None]] = {"eager loop": work.loop}
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    graph = graphs.exported(work.bundle, GraphCache(cache))
    bare = onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    found["bare ORT call"] = functools.partial(work.bare, bare)
    for backend, precision in OURS:
        try:
            extractor = Extractor.of_bundle(work.bundle, "cpu", SessionConfig(cache, backend, precision))
        except SpeakerLabError as error:
            print(f"{backend} {precision} left out: {error}")
            continue
        found[f"ours {backend} {precision}"] = functools.partial(work.ours, extractor)
    found["modelscope"] = functools.partial(work.peer_of_audio, modelscope(work.name, work.scratch))
    if work.name == "ecapa_tdnn":
        cls = peers.module("speechbrain.lobes.models.ECAPA_TDNN").ECAPA_TDNN
        network = cls(80, lin_neurons=192, channels=WIDE).eval()
        found["speechbrain network"] = functools.partial(work.peer_of_features, network)
    file, name, arguments = MVECTOR[work.name]
    network = getattr(peers.module(f"mvector.models.{file}"), name)(input_size=80, **arguments).eval()
    found["mvector network"] = functools.partial(work.peer_of_features, network)
    return found


def flops(work: Work) -> float:
    """Floating-point operations of the network on all utterances."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for feats in work.feats:
            work.bundle.model(torch.from_numpy(feats)[None])
    return float(counter.get_total_flops())


def peak_flops() -> float:
    """FLOP/s of a large fp32 matrix product, the best of ten."""
    size = 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return 2.0 * size**3 / min(times)


def report(work: Work, repeats: int, cache: Path) -> None:
    todo = methods(work, cache)
    times = dict.fromkeys(todo, float("inf"))
    for run in range(repeats + 1):  # the first turn warms up
        for name, method in todo.items():
            start = time.perf_counter()
            method()
            if run:
                times[name] = min(times[name], time.perf_counter() - start)
    total, peak = flops(work), peak_flops()
    print(
        f"\n{work.name}: {len(work.utterances)} utterances, {work.audio_s:.0f} s, matrix peak fp32", end=" "
    )
    print(f"{peak / 1e9:.0f} GFLOP/s")
    print(f"{'':22}{'RTF':>8}{'vs loop':>9}{'/ bare':>8}{'GFLOP/s':>9}{'of peak':>9}")
    for name, value in times.items():
        print(
            f"{name:22}{value / work.audio_s:8.4f}{times['eager loop'] / value:8.2f}x"
            f"{value / times['bare ORT call']:8.2f}{total / value / 1e9:9.0f}{total / value / peak:9.0%}"
        )


def main(arguments: argparse.Namespace) -> None:
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    data = DataDir.load(arguments.data)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speakerlab"
    print(f"one thread on core {core}, torch {torch.__version__}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            scratch = Path(folder) / name
            scratch.mkdir()
            work = Work(name, data, arguments.num_utts, scratch)
            report(work, arguments.repeats, cache)


if __name__ == "__main__":
    entry.run(main, options())
