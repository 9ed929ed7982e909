"""Compare, enrol and identify speakers; embed recordings; train, measure and convert models.

Example: speakerlab verify ann1.wav ann2.wav
"""

from __future__ import annotations

import argparse
import importlib
import sys

import speakerlab
from speakerlab import distribution

# command -> module of speakerlab.bin, and its line in the help; modules are imported when they are run
COMMANDS = {
    "verify": ("verify_speakers", "are two recordings of one speaker?"),
    "enroll": ("enroll_speaker", "add recordings of a person to a store of voiceprints"),
    "enroll-folder": ("enroll_folder", "enrol many people from a folder, spreadsheet, list or data dir"),
    "identify": ("identify_speaker", "which of the enrolled people speaks?"),
    "people": ("list_people", "list the enrolled people, or forget one"),
    "store": ("manage_store", "import, export, back up and keep a store of voiceprints"),
    "serve": ("serve_speakers", "serve all of this over HTTP, with a web page"),
    "keys": ("manage_keys", "make, list and remove the keys of the server"),
    "embed": ("embed_audio", "embeddings of recordings or a wav.scp"),
    "train": ("train", "train a network on a data dir (what stage 4 of run.sh runs)"),
    "fetch": ("fetch_model", "download a published model once; print where it is"),
    "adapt": ("adapt_model", "set a model's threshold from your own unlabelled recordings"),
    "models": ("list_models", "list the networks; with --published, the trained models"),
    "metrics": ("compute_metrics", "EER, minDCF and more from score files, ours or others'"),
    "convert": ("convert_model", "write another toolkit's model as a bundle"),
    "export": ("export_model", "write a model as an ONNX file, checked against the network"),
}


def options() -> argparse.ArgumentParser:
    """The command line, up to the command's own options."""
    parser = argparse.ArgumentParser(
        prog="speakerlab",
        description=__doc__,
        epilog="speakerlab COMMAND --help describes the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"{distribution.NAME} {speakerlab.__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, (_, explanation) in COMMANDS.items():
        commands.add_parser(name, help=explanation, add_help=False)
    return parser


def main() -> None:
    """Run the command that ``sys.argv`` names, with the rest of the line as its own."""
    from speakerlab.bin import entry

    entry.refuse_conflict()
    arguments, _ = options().parse_known_args(sys.argv[1:2])
    module = importlib.import_module(f"speakerlab.bin.{COMMANDS[arguments.command][0]}")
    sys.argv[:2] = [f"speakerlab {arguments.command}"]
    entry.call(module.main, module.options())


def run() -> None:
    """``main`` as all that a process does."""
    from speakerlab.bin import entry

    entry.process(main)


if __name__ == "__main__":
    run()
