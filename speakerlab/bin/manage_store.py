"""Keep a store of voiceprints: import, export, back up, review, erase by age, move to another model.

'speakerlab store ACTION --help' describes the options of an action.

Example: speakerlab store import voiceprints --voiceprints people.db
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speakerlab.bin import audio_arguments, entry, session_arguments
from speakerlab.errors import SpeakerLabError
from speakerlab.voiceprint import transfer
from speakerlab.voiceprint.erasure import Retention, retain
from speakerlab.voiceprint.sources import npz
from speakerlab.voiceprint.store import VoiceprintStore

DAY_S = 86400.0


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")

    def action(name: str, explanation: str) -> argparse.ArgumentParser:
        one = actions.add_parser(
            name, help=explanation, description=explanation, formatter_class=entry.HelpFormatter
        )
        audio_arguments.add_voiceprints(one)
        return one

    one = action("import", "add people from an export, or from a folder of JSON files of earlier versions")
    one.add_argument("source", type=Path, help="file of 'speakerlab store export', or folder")
    one = action("export", "write people with all voiceprints as JSON lines")
    one.add_argument("file", type=Path, help="the new file")
    one.add_argument("--person", metavar="NAME", help="only of this person")
    one = action("export-npz", "write people with their mean vectors as label and train_feats")
    one.add_argument("file", type=Path, help="the new .npz file")
    one.add_argument(
        "--npz-model", required=True, metavar="MODEL", help="of this model: content hash or name"
    )
    one.add_argument("--gallery", metavar="NAME", help="of this gallery only")
    one = action("backup", "copy everything, audit included, while others may write")
    one.add_argument("target", help="a new file, or the postgresql:// URL of an empty database")
    one = action("review", "list what waits for a decision: clip, person, reasons; or decide")
    one.add_argument("--accept", nargs="+", metavar="CLIP", help="enrol these")
    one.add_argument("--withdraw", nargs="+", metavar="CLIP", help="take these out of use")
    one = action("retain", "erase clips whose consent is over, and by age; print a receipt")
    for name, explanation in {"age": "enrolled", "withdrawn": "withdrawn", "review": "on review"}.items():
        one.add_argument(
            f"--max-{name}",
            type=float,
            metavar="DAYS",
            help=f"erase clips {explanation} longer ago than this",
        )
    one = action("re-embed", "move to another model, from kept recordings; name who must enrol again")
    audio_arguments.add(one)
    one = action("settings", "print or change the settings")
    one.add_argument("--consent", choices=("required", "optional"), help="whether each enrolment needs one")
    one.add_argument("--review-cap", type=int, metavar="CLIPS", help="how many clips may wait for review")
    one.add_argument("--keep-audio", metavar="FOLDER", help="keep recordings there; an empty name stops it")
    action("audit", "print who did what, and when, as JSON lines")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Do the action.

    Raises:
        SpeakerLabError: a store, file or model that cannot be used.
    """
    creates = arguments.action in {"import", "settings"}
    with VoiceprintStore.open(arguments.voiceprints, create=creates) as store:
        ACTIONS[arguments.action](store, arguments)


def _import(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    speakers, clips = transfer.load(store, arguments.source)
    print(f"{arguments.source}: {speakers} new people, {clips} new voiceprints")


def _export(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    chosen = None
    if arguments.person is not None:
        found = store.find(arguments.person)
        if found is None:
            raise SpeakerLabError(f"{store.where}: nobody is called '{arguments.person}'")
        chosen = [found.speaker_id]
    speakers, clips = transfer.export(store, arguments.file, chosen)
    print(f"{arguments.file}: {speakers} people, {clips} voiceprints")


def _export_npz(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    number = npz.export(store, arguments.file, arguments.npz_model, arguments.gallery)
    print(f"{arguments.file}: {number} people")


def _backup(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    transfer.back_up(store, arguments.target)
    print(f"{audio_arguments.shown(arguments.target)}: a copy of {store.where}")


def _review(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    if arguments.accept:
        store.accept(arguments.accept)
    if arguments.withdraw:
        store.withdraw(arguments.withdraw)
    if not arguments.accept and not arguments.withdraw:
        names = store.names()
        for clip in store.review():
            print(f"{clip.clip_id}\t{names[clip.speaker_id]}\t{'; '.join(clip.review)}")


def _retain(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    def seconds(days: float | None) -> float | None:
        return None if days is None else days * DAY_S

    rules = Retention(
        consent_ended=True,
        max_age_s=seconds(arguments.max_age),
        max_withdrawn_s=seconds(arguments.max_withdrawn),
        max_review_s=seconds(arguments.max_review),
    )
    print(json.dumps(retain(store, rules)))


def _re_embed(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    with entry.starting():
        from speakerlab.predictor import Predictor

        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        predictor = Predictor(model, store, ngpu=ngpu, running=running)
    done = predictor.re_embed()
    if arguments.json:
        print(json.dumps({"moved": done.moved, "again": done.again, "failed": done.failed}))
        return
    lines = [f"{done.moved} voiceprints have an embedding of this model now"]
    print("\n".join([*lines, *done.failed, *(f"enrol again: {name}" for name in done.again)]))


def _settings(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    changes: dict[str, Any] = {}
    if arguments.consent:
        changes["consent_required"] = arguments.consent == "required"
    if arguments.review_cap is not None:
        changes["review_cap"] = arguments.review_cap
    if arguments.keep_audio is not None:
        folder = arguments.keep_audio
        changes["audio_folder"] = str(Path(folder).resolve()) if folder else None
    if changes:
        store.set(**changes)
    print(json.dumps(store.settings()))


def _audit(store: VoiceprintStore, arguments: argparse.Namespace) -> None:
    del arguments
    for one in store.audit():
        print(json.dumps({name: getattr(one, name) for name in one.__dataclass_fields__}))


ACTIONS: dict[str, Callable[[VoiceprintStore, argparse.Namespace], None]] = {
    "import": _import,
    "export": _export,
    "export-npz": _export_npz,
    "backup": _backup,
    "review": _review,
    "retain": _retain,
    "re-embed": _re_embed,
    "settings": _settings,
    "audit": _audit,
}

if __name__ == "__main__":
    entry.run(main, options())
