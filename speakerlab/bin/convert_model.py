"""Write another toolkit's model as a bundle.

SOURCE is a folder or file of ModelScope, 3D-Speaker, FunASR, WeSpeaker or GhostVLAD, or a model id.

Example: speakerlab convert iic/speech_campplus_sv_zh-cn_16k-common exp/campplus/model
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import get_args

from speakerlab.bin import entry
from speakerlab.errors import DataError


def options() -> argparse.ArgumentParser:
    """The command line."""
    from speakerlab.hub.self_supervised import Frontend

    parser = entry.parser(__doc__)
    parser.add_argument("source", metavar="SOURCE", help="folder, file or model id")
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder to write")
    parser.add_argument(
        "--ssl-frontend",
        choices=get_args(Frontend),
        default="mel_spectrogram",
        help="features of RDINO and SDPN: 3D-Speaker's mel_spectrogram or ModelScope's fbank",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the bundle that is there")
    parser.add_argument("--json", action="store_true", help="print the content of bundle.json")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Load SOURCE, write BUNDLE, read it back.

    Raises:
        DataError: BUNDLE exists or cannot be written, SOURCE cannot be read.
    """
    from speakerlab.hub import bundle
    from speakerlab.hub.load import load_model

    target: Path = arguments.bundle
    if target.exists() and not (target / bundle.CARD).is_file():
        raise DataError(target, "exists and is no bundle", "name a new folder")
    if target.exists() and not arguments.overwrite:
        raise DataError(target, "exists", "add --overwrite to replace it")
    model = load_model(arguments.source, arguments.ssl_frontend)
    bundle.copy(model, target, model.rule)
    written = bundle.load(target)
    if arguments.json:
        print(json.dumps({"bundle": str(target), "model": written.config.model.name, **written.card}))
    else:
        logging.info("%s: %s, %d parameters", target, written.config.model.name, written.card["num_params"])


if __name__ == "__main__":
    entry.run(main, options())
