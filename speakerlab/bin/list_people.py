"""List the people enrolled in a folder, each with the number of recordings; or forget one.

Example: speakerlab people --voiceprints people --remove "Ann Smith"
"""

from __future__ import annotations

import argparse
import json

from speakerlab.bin import audio_arguments, entry
from speakerlab.errors import SpeakerLabError
from speakerlab.voiceprint.folder import VoiceprintFolder


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    audio_arguments.add_voiceprints(parser)
    parser.add_argument("--remove", metavar="NAME", help="forget this person")
    parser.add_argument("--json", action="store_true", help="one JSON object: recordings by name")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print a line a person, or forget one.

    Raises:
        SpeakerLabError: there is no such person, or a damaged file.
    """
    folder = VoiceprintFolder(arguments.voiceprints)
    if arguments.remove is None:
        people = folder.counts()
        rows = (f"{number}\t{name}\n" for name, number in people.items())
        print(json.dumps(people) + "\n" if arguments.json else "".join(rows), end="")
    elif folder.remove(arguments.remove):
        print(f"{arguments.remove}: forgotten")
    else:
        raise SpeakerLabError(f"{arguments.voiceprints}: nobody is called '{arguments.remove}'")


if __name__ == "__main__":
    entry.run(main, options())
