"""Are two recordings of one speaker? Prints the decision, the score, the threshold and how sure it is.

Exit status: 0 the same speaker, 3 different speakers, 4 no decision, 1 an error.

Example: speakerlab verify ann1.wav ann2.wav --json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from speakerlab.bin import audio_arguments, entry, session_arguments
from speakerlab.errors import AudioError, SpeakerLabError

EXIT = {"Same": 0, "Different": 3, "Uncertain": 4}
WORDS = {"Same": "same speaker", "Different": "different speakers", "Uncertain": "uncertain"}
MOST = 1_000_000  # times; beyond it no calibration has the trials to tell


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("first", help=audio_arguments.AUDIO_HELP)
    parser.add_argument("second", help="the other recording, given in the same way")
    audio_arguments.add_threshold(parser)
    audio_arguments.add_channel(parser)
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
    try:
        result = verify(pair, sample_rate=arguments.sample_rate, channel=arguments.channel)
    except AudioError as error:  # without the key, which stands for both
        raise SpeakerLabError(error.why) from error
    print(json.dumps(result) if arguments.json else text_of(result))
    sys.exit(EXIT[result["label"]])


def text_of(result: Mapping[str, Any]) -> str:
    """The decision in four lines, the reasons where there is none, and notes."""
    lines = [
        f"decision   {WORDS[result['label']]}",
        f"score      {audio_arguments.score_text(result['score'], result)}",
        f"confidence {confidence(result)}",
        f"model      {audio_arguments.model_text(result)}",
    ]
    if result["label"] == "Different" and (result["llr"] or 0) > 0:
        lines.append("note       not likely enough for the operating point that the threshold is for")
    lines += [f"because    {why}" for why in result["reasons"]]
    return "\n".join([*lines, *(f"note       {what}" for what in result["notes"])])


def confidence(result: Mapping[str, Any]) -> str:
    """How sure the decision is, in words: odds where the calibration is known to hold for the recordings."""
    llr, known = result["llr"], result["calibration"]
    if known is None:
        return "not known: the model is not calibrated (steps/calibrate_model.sh, speakerlab adapt)"
    if result["inside_calibration"] is False:
        return "not known: the calibration does not hold for these recordings"
    if result["label"] == "Uncertain":
        return "not known: there is no decision"
    if llr is None:
        return _false_accept(result)
    if result["inside_calibration"] is None:
        return f"log-likelihood ratio {llr:+.2f}, if the calibration ({known['made_of']}) holds here"
    side = "the same speaker" if llr >= 0 else "different speakers"
    return f"{times(abs(llr))} as likely from {side} (log-likelihood ratio {llr:+.2f})"


def times(llr: float) -> str:
    """The likelihood ratio of its logarithm from 0 up, in words: ``12.2 times``, ``89,000 times``."""
    if llr > math.log(MOST):
        return f"more than {MOST:,} times"
    ratio = math.exp(llr)
    return f"{ratio:.1f} times" if ratio < 100 else f"{float(f'{ratio:.2g}'):,.0f} times"


def _false_accept(result: Mapping[str, Any]) -> str:
    """How many strangers reach the threshold of an adapted model without log-likelihood ratios."""
    if result["threshold_origin"] == "given":
        return "not known: the model was adapted for its own threshold, and another is given"
    wanted = f"{100 * result['calibration']['false_accept']:g}"
    low, high = (f"{100 * share:.2f}" for share in result["calibration"]["false_accept_interval"])
    return f"the threshold accepts {low} to {high} % of pairs of different people ({wanted} % wanted)"


if __name__ == "__main__":
    entry.run(main, options())
