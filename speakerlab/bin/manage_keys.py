"""Make, list and remove the keys of speakerlab serve. A key is printed once, only its hash is kept.

Scopes: read (verify, identify, list), enrol, vectors (see embeddings), admin (everything).

Example: speakerlab keys add "front desk" --scopes read enrol
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from speakerlab.bin import entry
from speakerlab.errors import SpeakerLabError


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    texts = {"add": "make a key and print it", "list": "list the keys", "remove": "remove a key"}
    parsers = {
        name: actions.add_parser(name, help=text, description=text, formatter_class=entry.HelpFormatter)
        for name, text in texts.items()
    }
    for one in parsers.values():
        one.add_argument("--keys", type=Path, default=Path("keys.json"), help="file of the keys")
    parsers["add"].add_argument("name", help="what the key is for")
    parsers["add"].add_argument(
        "--scopes",
        nargs="+",
        default=["read"],
        choices=("read", "enrol", "vectors", "admin"),
        help="what it may do",
    )
    parsers["add"].add_argument(
        "--requests-per-minute",
        type=int,
        default=0,
        metavar="N",
        help="how often it may be used; 0: no limit",
    )
    parsers["remove"].add_argument("id", help="the key's id, as listed")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Do the action.

    Raises:
        SpeakerLabError: a file that cannot be used; no such key.
    """
    from speakerlab.serve.keys import KeyRing

    keys = KeyRing(arguments.keys)
    if arguments.action == "add":
        print(keys.add(arguments.name, arguments.scopes, arguments.requests_per_minute))
    elif arguments.action == "list":
        for key in keys.all():
            made = time.strftime("%Y-%m-%d", time.gmtime(key.created_s))
            print(
                f"{key.key_id}\t{made}\t{','.join(key.scopes)}\t{key.requests_per_minute or '-'}\t{key.name}"
            )
    elif not keys.remove(arguments.id):
        raise SpeakerLabError(f"{arguments.keys}: there is no key {arguments.id!r}")


if __name__ == "__main__":
    entry.run(main, options())
