"""List the people enrolled in a store, each with the number of recordings; or forget one, for good.

Example: speakerlab people --voiceprints people.db --remove "Ann Smith"
"""

from __future__ import annotations

import argparse
import json

from speakerlab.bin import audio_arguments, entry
from speakerlab.errors import DataError
from speakerlab.voiceprint.erasure import erase
from speakerlab.voiceprint.store import VoiceprintStore


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    audio_arguments.add_voiceprints(parser)
    parser.add_argument("--gallery", metavar="NAME", help="of this gallery only")
    parser.add_argument("--remove", metavar="NAME", help="forget this person, recordings and all")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object: recordings by name; with --remove, the receipt"
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print a line a person, or forget one.

    Raises:
        SpeakerLabError: there is no such store, gallery or person.
    """
    with VoiceprintStore.open(arguments.voiceprints, create=False) as store:
        if arguments.remove is None:
            people = {one.name: one.num_clips for one in store.speakers(arguments.gallery)}
            rows = (f"{number}\t{name}\n" for name, number in people.items())
            print(json.dumps(people) + "\n" if arguments.json else "".join(rows), end="")
            return
        found = store.find(arguments.remove)
        if found is None:
            raise DataError(store.where, f"nobody is called '{arguments.remove}'")
        receipt = erase(store, found.speaker_id)
        print(json.dumps(receipt) if arguments.json else f"{arguments.remove}: forgotten")


if __name__ == "__main__":
    entry.run(main, options())
