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

from speakerlab.bin import audio_arguments, entry, session_arguments
from speakerlab.errors import SpeakerLabError
from speakerlab.voiceprint import gates
from speakerlab.voiceprint.gates import Gates
from speakerlab.voiceprint.records import REVIEW, Consent

if TYPE_CHECKING:
    from speakerlab.voiceprint.enrolment import Enrolled


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("name", help="the person's name")
    parser.add_argument("audio", nargs="+", help=audio_arguments.AUDIO_HELP)
    audio_arguments.add_voiceprints(parser)
    parser.add_argument(
        "--gallery", action="append", default=[], metavar="NAME", help="also put the person there; repeatable"
    )
    parser.add_argument("--consent", metavar="REFERENCE", help="where the person's consent is on file")
    parser.add_argument(
        "--consent-until", type=entry.date, metavar="DATE", help="when it ends: 2027-12-31, that day included"
    )
    parser.add_argument(
        "--min-speech", type=float, default=gates.MIN_ENROLLED_S, help="least seconds of speech of a person"
    )
    parser.add_argument("--no-quality", action="store_true", help="enrol silence, noise and clipping too")
    parser.add_argument("--no-cohesion", action="store_true", help="do not compare the recordings")
    parser.add_argument(
        "--duplicates",
        choices=(gates.OFF, gates.WARN, gates.REVIEW),
        default=gates.WARN,
        help="what follows where another enrolled person sounds alike",
    )
    audio_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Enrol all recordings, or none.

    Raises:
        SpeakerLabError: a model or recording that cannot be used, a name that cannot be one.
    """
    audios = [audio_arguments.recording(text) for text in arguments.audio]
    if arguments.consent_until and not arguments.consent:
        raise SpeakerLabError("--consent-until needs --consent REFERENCE")
    consent = Consent(arguments.consent, None, arguments.consent_until) if arguments.consent else None
    chosen = Gates(
        arguments.min_speech, not arguments.no_quality, not arguments.no_cohesion, arguments.duplicates
    )
    with entry.starting():
        from speakerlab.predictor import Predictor

        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        predictor = Predictor(model, arguments.voiceprints, ngpu=ngpu, running=running)
    with contextlib.closing(predictor):
        done = predictor.enrol(
            audios, arguments.name, gates=chosen, consent=consent, galleries=arguments.gallery,
            sample_rate=arguments.sample_rate,
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
