"""Are two recordings of one speaker? Score, threshold, decision, and how sure it is.

Exit status: 0 the same speaker, 3 different speakers, 4 not enough speech to decide, 1 an error.

Example: speakerlab verify ann1.wav ann2.wav --json
"""

from __future__ import annotations

import argparse
import json
import math
import sys

from speakerlab.bin import audio_arguments, entry, session_arguments

EXIT = {"Same": 0, "Different": 3, "Uncertain": 4}
WORDS = {"Same": "same speaker", "Different": "different speakers", "Uncertain": "uncertain"}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("first", help=audio_arguments.AUDIO_HELP)
    parser.add_argument("second", help="likewise")
    audio_arguments.add_threshold(parser)
    audio_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print the decision and exit with its status.

    Raises:
        SpeakerLabError: a model or recording that cannot be used.
    """
    pair = tuple(audio_arguments.recording(text) for text in (arguments.first, arguments.second))
    with entry.starting():
        from speakerlab.pipeline import pipeline
        from speakerlab.pipeline.sources import find_one

        for audio in pair:
            find_one(audio, arguments.sample_rate)  # no list
        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        verify = pipeline(model=model, ngpu=ngpu, sv_threshold=arguments.threshold, running=running)
    result = verify(pair, sample_rate=arguments.sample_rate)
    print(json.dumps(result) if arguments.json else text_of(result))
    sys.exit(EXIT[result["label"]])


def text_of(result: dict[str, object]) -> str:
    """The decision in three lines, and the reasons where there is none."""
    lines = [
        f"decision   {WORDS[str(result['label'])]}",
        f"score      {result['cosine']:.4f} (cosine; threshold {result['threshold']:.4f}, "
        f"{result['threshold_origin']})",
        f"confidence {confidence(result['llr'])}",
    ]
    if result["label"] == "Different" and isinstance(result["llr"], float) and result["llr"] > 0:
        lines.append("note       not likely enough for the operating point that the threshold is for")
    reasons = result["reasons"]
    return "\n".join([*lines, *(f"because    {why}" for why in reasons)])  # type: ignore[attr-defined]


def confidence(llr: object) -> str:
    """What a log-likelihood ratio (natural log) says, in words; None is a model that is not calibrated."""
    if not isinstance(llr, float):
        return "not known: the model is not calibrated (steps/calibrate_model.sh)"
    odds = math.exp(min(abs(llr), 50.0))
    side = "the same speaker" if llr >= 0 else "different speakers"
    return f"{min(odds, 1e6):,.3g} times as likely from {side} (log-likelihood ratio {llr:+.2f})"


if __name__ == "__main__":
    entry.run(main, options())
