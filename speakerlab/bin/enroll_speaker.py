"""Enrol a person: add a voiceprint of each recording to those that the person already has.

A recording with too little speech is refused, and nothing is enrolled. Recordings that do not sound like one
speaker, or hold too little speech together, go to the review list: speakerlab store review.

Exit status: 0 enrolled, 4 on the review list, 1 an error.

Example: speakerlab enroll "Ann Smith" ann1.wav ann2.wav --voiceprints people.db
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from speakerlab.bin import audio_arguments, enrolment_arguments, entry, session_arguments
from speakerlab.voiceprint.records import REVIEW

if TYPE_CHECKING:
    from speakerlab.voiceprint.enrolment import Enrolled


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("name", help="the person's name")
    parser.add_argument("audio", nargs="+", help=audio_arguments.AUDIO_HELP)
    audio_arguments.add_voiceprints(parser)
    enrolment_arguments.add(parser)
    audio_arguments.add_channel(parser)
    audio_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Enrol all recordings, or none.

    Raises:
        SpeakerLabError: a model or recording that cannot be used, a name that cannot be one.
    """
    audios = [audio_arguments.recording(text) for text in arguments.audio]
    consent, chosen = enrolment_arguments.consent(arguments), enrolment_arguments.gates(arguments)
    with entry.starting():
        from speakerlab.predictor import Predictor

        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        predictor = Predictor(model, arguments.voiceprints, ngpu=ngpu, running=running)
    with contextlib.closing(predictor):
        done = predictor.enrol(
            audios, arguments.name, gates=chosen, consent=consent, galleries=arguments.gallery,
            sample_rate=arguments.sample_rate, channel=arguments.channel,
        )  # fmt: skip
    number, state = done.enrolment.num_clips, done.enrolment.state
    if arguments.json:
        told = {"name": arguments.name, "voiceprints": number, "state": state}
        found = [asdict(finding) for finding in done.findings]
        print(json.dumps({**told, "findings": found, **predictor.identity}))
    else:
        print(text_of(done, arguments.name, arguments.voiceprints))
    sys.exit(4 if state == REVIEW else 0)


def text_of(done: Enrolled, name: str, voiceprints: str) -> str:
    """What was enrolled, and what the gates found."""
    number, clips = done.enrolment.num_clips, done.enrolment.clip_ids
    place = audio_arguments.shown(voiceprints)
    lines = [f"{name}: {number} voiceprint{'' if number == 1 else 's'} in {place}"]
    if done.enrolment.state == REVIEW:
        lines = [f"{name}: on the review list of {place}: {' '.join(clips)}"]
    words = {True: "because", False: "note"}
    return "\n".join([*lines, *(f"{words[one.blocks]:<10} {one.why}" for one in done.findings)])


if __name__ == "__main__":
    entry.run(main, options())
