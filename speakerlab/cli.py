"""The command ``speakerlab``: one word after it names what to do.

Example: speakerlab models --json
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

# command -> module of speakerlab.bin, and its line in the help; modules are imported when they are run
COMMANDS = {
    "models": ("list_models", "table of the networks and their sizes"),
    "metrics": ("compute_metrics", "EER, minDCF and more of scores, ours or another toolkit's"),
    "convert": ("convert_model", "write a model of another toolkit as a bundle"),
}


def options() -> argparse.ArgumentParser:
    """The command line, up to the command's own options."""
    parser = argparse.ArgumentParser(
        prog="speakerlab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, explanation) in COMMANDS.items():
        commands.add_parser(name, help=explanation, add_help=False)
    return parser


def main() -> None:
    """Run the command that ``sys.argv`` names, with the rest of the line as its own."""
    arguments, _ = options().parse_known_args(sys.argv[1:2])
    module = importlib.import_module(f"speakerlab.bin.{COMMANDS[arguments.command][0]}")
    from speakerlab.bin import entry

    sys.argv[:2] = [f"{Path(sys.argv[0]).name} {arguments.command}"]
    entry.run(module.main, module.options())


if __name__ == "__main__":
    main()
