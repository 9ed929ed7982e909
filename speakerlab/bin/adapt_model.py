"""Adapt a model to your own recordings without labels, and set its threshold for a false-accept rate.

Give recordings of the kind that you will compare, such as calls of your line, of thirty people or more, most
of them different. OUT is a copy of MODEL that also holds the mean of these recordings, a cohort for AS-norm,
and the threshold that the wanted share of pairs of different people reaches. All commands, the pipeline and
exported files decide by these. People enrolled with MODEL stay enrolled. --trials gives labelled pairs; then
the scores are calibrated as well. docs/decisions.md describes all of it.

Example: speakerlab adapt --recordings wav.scp --false-accept 0.01 campplus exp/calls
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerlab.bin import entry, session_arguments
from speakerlab.errors import AudioError, DataError, SpeakerLabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from speakerlab.embed.waveform_graph import WaveformGraph
    from speakerlab.hub.adaptation import Adaptation
    from speakerlab.hub.bundle import Bundle
    from speakerlab.pipeline import Pipeline
    from speakerlab.pipeline.adapting import Voices
    from speakerlab.pipeline.sources import Source


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--recordings", type=Path, required=True, help="wav.scp or data dir of unlabelled recordings"
    )
    parser.add_argument(
        "--false-accept",
        type=_share,
        default=0.01,
        help="share of pairs of different people to accept",
    )
    parser.add_argument("--utt2spk", type=Path, help="speaker of each recording, if you know it")
    parser.add_argument(
        "--trials", type=Path, help="labelled trials between the recordings, if you have them"
    )
    parser.add_argument(
        "--operating-point", default="voxceleb", help="with --trials: the costs that set the threshold"
    )
    parser.add_argument("--domain", help="what speech this is, for answers (default: the name of the list)")
    parser.add_argument("--batch-size", type=int, default=1, help="recordings per network call")
    parser.add_argument(
        "--max-fail-rate", type=entry.rate, default=0.1, help="share of recordings that may be unreadable"
    )
    parser.add_argument("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    session_arguments.add(parser)
    parser.add_argument("model", metavar="MODEL", help="published model, bundle, or exported .onnx file")
    parser.add_argument(
        "out", metavar="OUT", type=Path, help="bundle to write, or a .onnx file if MODEL is one"
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Embed the recordings, learn, publish OUT.

    Raises:
        DataError: OUT exists, a list that cannot be read, too many failures, too few people.
    """
    is_graph = arguments.model.lower().endswith(".onnx")
    _require_free(arguments.out, is_graph=is_graph, overwrite=arguments.overwrite)
    from speakerlab.bin.calibrate_model import operating_point
    from speakerlab.data.tables import read_trials, read_two_columns
    from speakerlab.pipeline import adapting

    point = operating_point(arguments.operating_point)
    trials = read_trials(arguments.trials) if arguments.trials else None
    people = dict(read_two_columns(arguments.utt2spk)) if arguments.utt2spk else None
    sources = _sources(arguments.recordings)
    adapting.require_known(str(arguments.recordings), sources, people, trials)
    network, loaded = _network(arguments, is_graph=is_graph)
    voices = _voices(arguments, network, sources, people)
    domain = arguments.domain or f"recordings like those of {voices.name}"
    found = adapting.adapt(voices, arguments.false_accept, domain)
    if trials is not None:
        found = adapting.calibrated(found, voices, trials, arguments.operating_point, point)
    _publish(loaded, arguments.out, found)
    print(json.dumps(_plain(found)) if arguments.json else _text(arguments.out, found))


def _share(text: str) -> float:
    """A share in (0, 1)."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1, such as 0.01")
    return value


def _require_free(out: Path, *, is_graph: bool, overwrite: bool) -> None:
    from speakerlab.hub import bundle

    if is_graph != (out.suffix.lower() == ".onnx"):
        raise DataError(out, "OUT must be of the kind of MODEL", "name a .onnx file for one, else a folder")
    if out.exists() and not is_graph and not (out / bundle.CARD).is_file():
        raise DataError(out, "exists and is no bundle", "name a new folder")
    if out.exists() and not overwrite:
        raise DataError(out, "exists", "add --overwrite to replace it")


def _network(arguments: argparse.Namespace, *, is_graph: bool) -> tuple[Pipeline, Bundle | WaveformGraph]:
    """What embeds, and the model that is adapted."""
    from speakerlab.pipeline import pipeline

    running = session_arguments.config(arguments)
    if is_graph:
        network = pipeline(model=arguments.model, ngpu=0, batch_size=arguments.batch_size, running=running)
        return network, network.model
    import torch

    from speakerlab.hub.load import load_model

    loaded = load_model(arguments.model)
    ngpu = int(torch.cuda.is_available() and not arguments.cpu)
    return pipeline(model=loaded, ngpu=ngpu, batch_size=arguments.batch_size, running=running), loaded


def _sources(path: Path) -> Mapping[str, Source]:
    """The recordings of a list, or the utterances of a data dir, by id."""
    from speakerlab.pipeline import sources

    if path.is_dir():
        return sources.of_data_dir(path)
    if not path.exists():
        raise DataError(path, "no such file", "--recordings takes a wav.scp or a data dir")
    named = sources.find(path, 16000, allow_commands=True)
    if not named.is_list:
        raise SpeakerLabError(f"{path} is one recording; --recordings takes a wav.scp of many")
    return named.sources


def _voices(
    arguments: argparse.Namespace,
    network: Pipeline,
    sources: Mapping[str, Source],
    people: Mapping[str, str] | None,
) -> Voices:
    """The recordings that can be used, embedded; those that cannot are told one by one."""
    import numpy as np

    from speakerlab.pipeline import adapting
    from speakerlab.pipeline.embedding import Embedded, embed

    path: Path = arguments.recordings
    keys = adapting.chosen(str(path), list(sources))
    usable: dict[str, Embedded] = {}
    failed = 0
    results = embed([(key, sources[key]) for key in keys], network.embedder, network.options)
    for key, result in zip(keys, results, strict=True):
        if isinstance(result, AudioError):
            failed += 1
            logging.warning("left out: %s", result)
        elif result.heard.speech.reasons:
            logging.warning("left out: %s: %s", key, "; ".join(result.heard.speech.reasons))
        else:
            usable[key] = result
    if failed > arguments.max_fail_rate * len(keys):
        why = f"{failed} of {len(keys)} recordings cannot be read"
        raise DataError(path, why, "repair them, or allow more with --max-fail-rate")
    matrix = np.stack([one.embedding for one in usable.values()]) if usable else np.zeros((0, 1), np.float32)
    checks = [one.heard.speech for one in usable.values()]
    return adapting.Voices(str(path), tuple(usable), matrix, checks, people)


def _publish(loaded: Bundle | WaveformGraph, out: Path, found: Adaptation) -> None:
    from speakerlab.embed.waveform_graph import WaveformGraph
    from speakerlab.hub import bundle, onnx_file

    if isinstance(loaded, WaveformGraph):
        onnx_file.with_rule(loaded.path, out, found)
    else:
        bundle.copy(loaded, out, found)


def _plain(found: Adaptation) -> dict[str, Any]:
    """What JSON holds of it."""
    return {
        "threshold": found.calibration.threshold if found.calibration else found.threshold,
        "false_accept": found.false_accept,
        "false_accept_interval": list(found.interval),
        "num_recordings": found.num_recordings,
        "num_people": found.num_people,
        "domain": found.domain,
        "is_calibrated": found.calibration is not None,
    }


def _text(out: Path, found: Adaptation) -> str:
    low, high = (f"{100 * share:.2f}" for share in found.interval)
    lines = [
        f"{out}: adapted to {found.num_recordings:,} recordings of {found.num_people:,} people",
        f"threshold {found.threshold:.4f}: it accepts {low} to {high} % of pairs of different people "
        f"(95 % interval; {100 * found.false_accept:g} % wanted)",
    ]
    if (known := found.calibration) is not None:
        trials = f"{known.num_targets:,} target and {known.num_nontargets:,} non-target trials"
        lines.append(f"calibrated on {trials}: threshold {known.threshold:.4f} at {known.point}")
    return "\n".join(lines)


if __name__ == "__main__":
    entry.run(main, options())
