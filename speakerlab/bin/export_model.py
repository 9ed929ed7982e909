"""Write a model as one ONNX file, checked against the network in ONNX Runtime before it is published.

SOURCE is a bundle, another toolkit's model, or a model id. The graph takes ``feature`` [batch, frames, F],
made and normalised as the metadata say, or ``waveform`` [batch, samples], and gives ``embedding`` [batch, E].
In reduced precision, the command prints the loss on --measure-on and stores it in the metadata.

Example: speakerlab export --precision int8 --calibration-data data/train --measure-on data/test
    exp/first/model exp/first/model.int8.onnx
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speakerlab.bin import entry
from speakerlab.errors import DataError
from speakerlab.hub.onnx_precision import PRECISIONS
from speakerlab.io import atomic

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("source", metavar="SOURCE", help="folder, file or model id")
    parser.add_argument("target", metavar="OUT_ONNX", type=Path, help="file to write")
    parser.add_argument(
        "--input",
        choices=("feature", "waveform"),
        default="feature",
        help="what the graph takes: normalised features, or samples [batch, samples] in [-1, 1] (front end "
        "fbank only)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp16: half the size, for GPUs; int8: the fastest on a CPU; int8-dynamic: as small, without "
        "calibration, but slow where the network has convolutions",
    )
    parser.add_argument(
        "--calibration-data", type=Path, metavar="DIR", help="data dir whose speech sets the ranges of int8"
    )
    parser.add_argument(
        "--measure-on", type=Path, metavar="DIR", help="data dir with trials: what reduced precision loses"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT_ONNX where it exists")
    parser.add_argument("--json", action="store_true", help="print the metadata as one JSON object")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Load SOURCE, export, check, publish.

    Raises:
        DataError: OUT_ONNX exists or cannot be written.
        SpeakerLabError: the graph does not compute what the network does.
    """
    if wrong := _misuse(arguments):
        options().error(wrong)
    from speakerlab.hub.load import load_model

    target: Path = arguments.target
    if target.is_dir():
        raise DataError(target, "is a folder", "name a file")
    if target.exists() and not arguments.overwrite:
        raise DataError(target, "exists", "add --overwrite to replace it")
    loaded = load_model(arguments.source)
    with atomic.staged(target) as staged:
        found = _write(loaded, staged, arguments)
    if arguments.json:
        print(json.dumps({"path": str(target), **found}))


def _misuse(arguments: argparse.Namespace) -> str:
    """What is wrong with the combination of options; empty if nothing is."""
    precision, reduced = arguments.precision, arguments.precision != "fp32"
    if reduced and arguments.input != "feature":
        return f"--precision {precision} is for --input feature only"
    if reduced and not arguments.measure_on:
        return f"--precision {precision} needs --measure-on DIR"
    if precision == "int8" and not arguments.calibration_data:
        return "--precision int8 needs --calibration-data DIR"
    if arguments.measure_on and not reduced:
        return "--measure-on is for reduced precision; fp32 is always checked"
    if arguments.calibration_data and precision != "int8":
        return "--calibration-data is for --precision int8"
    return ""


def _write(loaded: Bundle, path: Path, arguments: argparse.Namespace) -> dict[str, str]:
    """The checked graph with its metadata at ``path``; these, and its largest relative error."""
    if arguments.input == "waveform":
        from speakerlab.hub import waveform_file

        found = waveform_file.write(loaded, path)
    else:
        found = _write_features(loaded, path, arguments)
    logging.info("largest relative error of the fp32 graph against the network: %s", found["relative_error"])
    return found


def _write_features(loaded: Bundle, path: Path, arguments: argparse.Namespace) -> dict[str, str]:
    """``_write`` of the graph that takes features."""
    from speakerlab.hub import onnx_check, onnx_export, onnx_file, onnx_metadata

    feat_dim = loaded.card["feat_dim"]
    onnx_export.export(loaded.model, feat_dim, path)
    error = onnx_check.check(path, loaded.model, onnx_check.feature_inputs(loaded.model, feat_dim))
    found = {
        **onnx_metadata.describe(loaded),
        "precision": arguments.precision,
        **onnx_metadata.sherpa(loaded),
    }
    if arguments.precision != "fp32":
        found["measured_loss"] = _reduce(loaded, path, arguments)
    onnx_file.write(path, found)
    if "framework" in found and (differences := onnx_metadata.sherpa_differences(loaded)):
        logging.warning("sherpa-onnx computes other features than this model's: %s", ", ".join(differences))
    return {**found, "relative_error": f"{error:.1e}"}


def _reduce(loaded: Bundle, path: Path, arguments: argparse.Namespace) -> str:
    """Reduce the graph at ``path``; its loss, printed, and as JSON."""
    from speakerlab.data.datadir import DataDir
    from speakerlab.embed import graph_loss
    from speakerlab.hub import onnx_precision

    test = graph_loss.TestSet.load(arguments.measure_on)
    if arguments.precision == "int8":
        feats = graph_loss.excerpts(loaded, DataDir.load(arguments.calibration_data))
    else:
        feats = graph_loss.whole(loaded, test.data)
    onnx_precision.reduce_precision(path, arguments.precision, feats)
    loss = graph_loss.measure(loaded, path, test)
    if not arguments.json:
        print(f"{arguments.target}: {arguments.precision}, {loss}")
    return json.dumps(loss.as_dict())


if __name__ == "__main__":
    entry.run(main, options())
