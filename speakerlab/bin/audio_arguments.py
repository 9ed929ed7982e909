"""What the commands for single recordings share: where audio and the model come from, and their options.

``add(parser)``; ``recording("-")`` -> the bytes of standard input; ``recording("mic:5")`` -> 5 s of the
microphone; ``model(arguments)`` -> the model named, or the one of recipe zero.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.types import Float32Array

DEFAULT_MODEL = Path("exp/demo/model")  # where `bash run.sh` leaves its model
AUDIO_HELP = "path, URL, - for standard input, or mic:SECONDS for the microphone"
MIC_SAMPLE_RATE = 16000
_MIC = re.compile(r"mic(?::(\d+(?:\.\d+)?))?$")
_MIC_DEFAULT_S = 5.0


def add(parser: argparse.ArgumentParser) -> None:
    """``--model --cpu --sample-rate --json``, which all of these commands take."""
    parser.add_argument(
        "--model",
        help="bundle, other toolkit's model, model id, or .onnx file (speakerlab export --input waveform), "
        f"which starts fastest (default: {DEFAULT_MODEL})",
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--sample-rate", type=int, default=16000, help="of raw PCM, in Hz")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """``--threshold``, of the commands that decide."""
    parser.add_argument(
        "--threshold",
        type=float,
        help="smallest cosine that counts as the same speaker (default: the model's calibrated threshold)",
    )


def add_voiceprints(parser: argparse.ArgumentParser) -> None:
    """``--voiceprints``, of the commands that know people."""
    parser.add_argument("--voiceprints", type=Path, default=Path("voiceprints"), help="folder of the people")


def model(arguments: argparse.Namespace) -> str:
    """The model of ``--model``, else recipe zero's.

    Raises:
        SpeakerLabError: none is named and recipe zero was not run here.
    """
    if arguments.model:
        return str(arguments.model)
    if not DEFAULT_MODEL.is_dir():
        raise SpeakerLabError(
            f"no --model given and no {DEFAULT_MODEL} here; train one with 'bash run.sh', or download one: "
            "--model iic/speech_campplus_sv_zh-cn_16k-common"
        )
    return str(DEFAULT_MODEL)


def num_gpus(arguments: argparse.Namespace, model: str) -> int:
    """1 where there is a GPU that may be used and ``model`` can use, else 0."""
    from speakerlab.embed.waveform_graph import WaveformGraph

    if WaveformGraph.recognises(model):
        return 0
    import torch

    return int(torch.cuda.is_available() and not arguments.cpu)


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
