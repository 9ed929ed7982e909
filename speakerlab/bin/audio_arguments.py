"""What the commands for single recordings share: where audio and the model come from, and their options.

``add(parser)``; ``recording("-")`` -> the bytes of standard input; ``recording("mic:5")`` -> 5 s of the
microphone; ``network(arguments, running)`` -> the model named, or the published one.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.types import Float32Array

if TYPE_CHECKING:
    from speakerlab.embed.session import SessionConfig
    from speakerlab.embed.waveform_graph import WaveformGraph

AUDIO_HELP = "path, URL, - for standard input, or mic:SECONDS for the microphone"
MIC_SAMPLE_RATE = 16000
_MIC = re.compile(r"mic(?::(\d+(?:\.\d+)?))?$")
_MIC_DEFAULT_S = 5.0


def add(parser: argparse.ArgumentParser, *, raw_pcm: bool = True) -> None:
    """``--model --cpu --json``, and ``--sample-rate`` where raw PCM may be given."""
    parser.add_argument(
        "--model",
        help="a published model's name (speakerlab models --published), bundle, another toolkit's model, "
        "model id, or .onnx file of speakerlab export --input waveform (default: campplus, downloaded once)",
    )
    parser.add_argument("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    if raw_pcm:
        parser.add_argument("--sample-rate", type=int, default=16000, help="rate of raw PCM input, in Hz")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def add_channel(parser: argparse.ArgumentParser) -> None:
    """``--channel``, of the commands that listen to recordings as they were made."""
    parser.add_argument(
        "--channel", type=_channel, default=0, help="channel of a recording to listen to, from 0"
    )


def _channel(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is no channel; channels count from 0")
    return number


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """``--threshold``, of the commands that decide."""
    parser.add_argument(
        "--threshold",
        type=float,
        help="smallest cosine that counts as the same speaker (default: the model's calibrated threshold)",
    )


def add_voiceprints(parser: argparse.ArgumentParser) -> None:
    """``--voiceprints``, of the commands that know people."""
    parser.add_argument(
        "--voiceprints",
        default="voiceprints.db",
        help="store of enrolled people: a file or postgresql:// URL",
    )


def shown(voiceprints: str) -> str:
    """A store as it may be printed: without the password."""
    from speakerlab.voiceprint.database import is_url, without_password

    return without_password(voiceprints) if is_url(voiceprints) else voiceprints


def network(arguments: argparse.Namespace, running: SessionConfig) -> tuple[str | WaveformGraph, int]:
    """The model of ``--model``, and how many GPUs it may use: 0 or 1; as the pipeline takes them.

    Of a published model, which the default is, it is the kept graph, which needs no torch, where that does as
    well: without a GPU, and without a back-end, precision or graph asked for.

    Raises:
        SpeakerLabError: a published model that no source has.
    """
    from speakerlab.hub import published

    named = arguments.model or ""
    if named.lower().endswith(".onnx"):
        return named, 0
    ngpu = _num_gpus(arguments)
    entry = published.find(named) if named else published.default()
    if entry is not None and ngpu == 0 and _is_plain(arguments):
        from speakerlab.embed import kept_graph

        if (graph := kept_graph.opened(entry, running)) is not None:
            return graph, 0
    return named, ngpu


def _is_plain(arguments: argparse.Namespace) -> bool:
    """Whether no option says what runs the network, and no features are given, which a graph cannot take."""
    asked = [getattr(arguments, "backend", None), getattr(arguments, "graph", None)]
    audio = getattr(arguments, "audio", [])
    features = isinstance(audio, list) and any(text.endswith(",kaldi_ark") for text in audio)
    return not any(asked) and getattr(arguments, "precision", "fp32") == "fp32" and not features


def _num_gpus(arguments: argparse.Namespace) -> int:
    """1 where there is a GPU that may be used, else 0; torch is asked only where there may be one."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    if arguments.cpu or hidden or not (_has_library("libcuda.so.1") or Path("/dev/kfd").exists()):
        return 0
    import torch

    return int(torch.cuda.is_available())


def _has_library(name: str) -> bool:
    """Whether the system has the library ``name``: without libcuda, the driver's, no CUDA device is found."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def score_text(score: float, told: Mapping[str, Any]) -> str:
    """A score beside the threshold of an answer: ``0.7312 (cosine; threshold 0.4690, calibrated)``."""
    kind = "adapted score" if (told["calibration"] or {}).get("kind") == "adaptation" else "cosine"
    if told["threshold"] is None:
        return f"{score:.4f} ({kind}; no threshold)"
    return f"{score:.4f} ({kind}; threshold {told['threshold']:.4f}, {told['threshold_origin']})"


def model_text(told: Mapping[str, Any]) -> str:
    """The model of an answer, what it was trained on, and what its decisions were calibrated on."""
    known = told["calibration"] or {}
    how = "adapted to" if known.get("kind") == "adaptation" else "calibrated on"
    parts = (
        told["model"],
        f"trained on {told['domain']}" if told["domain"] else "",
        f"{how} {known['domain']}" if known.get("domain") else "",
    )
    return ", ".join(filter(None, parts))


def recording(text: str) -> Any:
    """What the argument ``text`` means to the pipeline.

    Raises:
        SpeakerLabError: nothing on standard input, or too much; no microphone.
        MissingExtraError: the microphone is asked for and sounddevice is not installed.
    """
    if text == "-":
        from speakerlab.io.download import MAX_BYTES

        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        if not data:
            raise SpeakerLabError("-: nothing on standard input")
        if len(data) > MAX_BYTES:
            raise SpeakerLabError(f"-: more than {MAX_BYTES:,} bytes on standard input; give a file")
        return data
    match = _MIC.match(text)
    return record(float(match[1] or _MIC_DEFAULT_S)) if match else text


def record(seconds: float) -> Float32Array:
    """``seconds`` from the default microphone, float32 [S] at 16 kHz.

    Raises:
        SpeakerLabError: no microphone that records.
        MissingExtraError: sounddevice is not installed.
    """
    try:
        sounddevice: Any = importlib.import_module("sounddevice")
    except ImportError as error:
        raise MissingExtraError("sounddevice", "mic") from error
    except OSError as error:  # the package is there, the PortAudio library is not
        raise SpeakerLabError(f"sounddevice: {error}; on Debian: apt install libportaudio2") from error
    print(f"recording {seconds:g} s: speak now", file=sys.stderr)
    try:
        samples = sounddevice.rec(round(seconds * MIC_SAMPLE_RATE), MIC_SAMPLE_RATE, 1, dtype="float32")
        _wait(sounddevice, seconds)
    except sounddevice.PortAudioError as error:
        raise SpeakerLabError(f"the microphone cannot be used: {error}") from error
    return np.ascontiguousarray(samples[:, 0])


def _wait(sounddevice: Any, seconds: float) -> None:
    """Until the recording ends, with its seconds counted down on a terminal."""
    from speakerlab import logs

    for _ in logs.progress(range(int(seconds)), "seconds", int(seconds)):
        time.sleep(1)
    sounddevice.wait()
