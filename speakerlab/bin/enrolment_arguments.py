"""What the commands that enrol share: galleries, consent, and the gates that recordings must pass.

``add(parser)``; ``gates(arguments)`` -> ``Gates``; ``consent(arguments)`` -> ``Consent``, or None.
"""

from __future__ import annotations

import argparse

from speakerlab.bin import entry
from speakerlab.errors import SpeakerLabError
from speakerlab.voiceprint.gates import MIN_ENROLLED_S, OFF, REVIEW, WARN, Gates
from speakerlab.voiceprint.records import Consent


def add(parser: argparse.ArgumentParser) -> None:
    """``--gallery --consent --consent-until``, and an option for each gate."""
    parser.add_argument(
        "--gallery", action="append", default=[], metavar="NAME", help="also put the person there; repeatable"
    )
    parser.add_argument("--consent", metavar="REFERENCE", help="where the person's consent is on file")
    parser.add_argument(
        "--consent-until", type=entry.date, metavar="DATE", help="when it ends: 2027-12-31, that day included"
    )
    parser.add_argument(
        "--min-speech", type=float, default=MIN_ENROLLED_S, help="least seconds of speech of a person"
    )
    parser.add_argument("--no-quality", action="store_true", help="enrol silence, noise and clipping too")
    parser.add_argument("--no-cohesion", action="store_true", help="do not compare the recordings")
    parser.add_argument(
        "--duplicates",
        choices=(OFF, WARN, REVIEW),
        default=WARN,
        help="what follows where another enrolled person sounds alike",
    )


def gates(arguments: argparse.Namespace) -> Gates:
    """The gates asked for.

    Raises:
        SpeakerLabError: ``--min-speech`` is no number of seconds.
    """
    quality, cohesion = not arguments.no_quality, not arguments.no_cohesion
    return Gates(arguments.min_speech, quality, cohesion, arguments.duplicates)


def consent(arguments: argparse.Namespace) -> Consent | None:
    """The consent given, if one was.

    Raises:
        SpeakerLabError: an end without a consent, or what cannot be one.
    """
    if arguments.consent_until and not arguments.consent:
        raise SpeakerLabError("--consent-until needs --consent REFERENCE")
    return Consent(arguments.consent, None, arguments.consent_until) if arguments.consent else None
