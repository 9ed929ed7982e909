"""Which of the enrolled people speaks, if any?

Exit status: 0 an enrolled person, 3 none of them, 4 no decision, 1 an error.

Example: speakerlab identify unknown.wav --voiceprints people.db --top 3
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING

from speakerlab.bin import audio_arguments, entry, session_arguments

if TYPE_CHECKING:
    from speakerlab.predictor import Recognition


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("audio", help=audio_arguments.AUDIO_HELP)
    parser.add_argument("--top", type=int, default=5, help="how many of the nearest people to print")
    audio_arguments.add_voiceprints(parser)
    parser.add_argument("--gallery", metavar="NAME", help="of the people of this gallery only")
    audio_arguments.add_threshold(parser)
    audio_arguments.add_channel(parser)
    audio_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print who it is and exit with its status.

    Raises:
        SpeakerLabError: a model or recording that cannot be used, nobody enrolled.
    """
    audio = audio_arguments.recording(arguments.audio)
    with entry.starting():
        from speakerlab.predictor import Predictor

        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        predictor = Predictor(model, arguments.voiceprints, arguments.threshold, ngpu, running)
    with contextlib.closing(predictor):
        found = predictor.recognition(
            audio, None, arguments.sample_rate, arguments.gallery, channel=arguments.channel
        )
    print(json.dumps(found.as_dict()) if arguments.json else text_of(found, arguments.top))
    sys.exit(0 if found.name is not None else 4 if found.reasons else 3)


def text_of(found: Recognition, top: int) -> str:
    """The decision, the reasons where there is none, and the nearest people."""
    decision = "uncertain" if found.reasons else "nobody enrolled here" if found.name is None else found.name
    lines = [f"decision   {decision}", *(f"because    {why}" for why in found.reasons)]
    told = found.threshold.as_dict()
    lines.append(f"score      {audio_arguments.score_text(found.score, told)}")
    lines.append(f"model      {audio_arguments.model_text(told)}")
    lines += [f"note       {what}" for what in found.notes]
    nearest = list(found.ranking.items())[:top]
    return "\n".join([*lines, *(f"{score:10.4f} {name}" for name, score in nearest)])


if __name__ == "__main__":
    entry.run(main, options())
