"""Enrol a person: add a voiceprint of each recording to those that the person already has.

A recording with too little speech is refused, and nothing is enrolled.

Example: speakerlab enroll "Ann Smith" ann1.wav ann2.wav --voiceprints people
"""

from __future__ import annotations

import argparse
import json

from speakerlab.bin import audio_arguments, entry, session_arguments


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("name", help="the person's name")
    parser.add_argument("audio", nargs="+", help=audio_arguments.AUDIO_HELP)
    audio_arguments.add_voiceprints(parser)
    audio_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Enrol all recordings, or none.

    Raises:
        SpeakerLabError: a model or recording that cannot be used, a name that cannot be one.
    """
    audios = [audio_arguments.recording(text) for text in arguments.audio]
    with entry.starting():
        from speakerlab.predictor import Predictor

        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        predictor = Predictor(model, arguments.voiceprints, ngpu=ngpu, running=running)
    number = predictor.register(audios, arguments.name, arguments.sample_rate)
    if arguments.json:
        print(json.dumps({"name": arguments.name, "voiceprints": number, **predictor.identity}))
    else:
        print(f"{arguments.name}: {number} voiceprint{'s' if number > 1 else ''} in {arguments.voiceprints}")


if __name__ == "__main__":
    entry.run(main, options())
