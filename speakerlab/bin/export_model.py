"""Write a model as one ONNX file, checked against the network in ONNX Runtime before it is published.

SOURCE is a bundle, another toolkit's model, or a model id. The graph takes ``feature`` [batch, frames, F],
made and normalised as the metadata say, or ``waveform`` [batch, samples], and gives ``embedding`` [batch, E].

Example: speakerlab export --input waveform exp/first/model exp/first/model.onnx
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speakerlab.bin import entry
from speakerlab.errors import DataError
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
    parser.add_argument("--overwrite", action="store_true", help="replace OUT_ONNX where it exists")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Load SOURCE, export, check, publish.

    Raises:
        DataError: OUT_ONNX exists or cannot be written.
        SpeakerLabError: the graph does not compute what the network does.
    """
    from speakerlab.hub.load import load_model

    target: Path = arguments.target
    if target.is_dir():
        raise DataError(target, "is a folder", "name a file")
    if target.exists() and not arguments.overwrite:
        raise DataError(target, "exists", "add --overwrite to replace it")
    loaded = load_model(arguments.source)
    try:
        with atomic.staged(target) as staged:
            _write(loaded, staged, arguments.input)
    except OSError as error:
        raise DataError(target, f"cannot be written: {error.strerror or error}") from error


def _write(loaded: Bundle, path: Path, takes: str) -> None:
    """The checked graph with its metadata at ``path``."""
    from speakerlab.hub import onnx_check, onnx_export, onnx_metadata

    for_sherpa: dict[str, str] = {}
    if takes == "waveform":
        error = _write_waveform(loaded, path)
    else:
        onnx_export.export(loaded.model, loaded.card["feat_dim"], path)
        inputs = onnx_check.feature_inputs(loaded.model, loaded.card["feat_dim"])
        error = onnx_check.check(path, loaded.model, inputs)
        for_sherpa = onnx_metadata.sherpa(loaded)
    onnx_metadata.write(path, {**onnx_metadata.describe(loaded), **for_sherpa})
    logging.info("largest relative error against the network: %.1e", error)
    if for_sherpa and (differences := onnx_metadata.sherpa_differences(loaded)):
        logging.warning("sherpa-onnx computes other features than this model's: %s", ", ".join(differences))


def _write_waveform(loaded: Bundle, path: Path) -> float:
    """The graph from the waveform at ``path``; its largest error against the extractor in torch."""
    from speakerlab.hub import onnx_check, onnx_export
    from speakerlab.hub.onnx_waveform import WaveformEmbedder

    embedder = WaveformEmbedder(loaded.config, loaded.model).eval()
    onnx_export.export_waveform(embedder, path)
    return onnx_check.check(path, embedder, onnx_check.waveform_inputs(embedder))


if __name__ == "__main__":
    entry.run(main, options())
