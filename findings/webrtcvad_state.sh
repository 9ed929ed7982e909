#!/usr/bin/env bash
# webrtcvad's is_speech(frame) depends on what the object heard before, and it cannot be reset.
# Guess: is_speech judges the frame that it is given; one Vad object serves a whole list of recordings.
# What happens: the detector adapts to noise and keeps a hangover: a new object calls the first four frames of steady
# noise speech and the rest not; one that heard such noise in the recording before calls none of them speech. There
# is no method to start afresh.
# What follows: make a new Vad for each recording, or results depend on the order of the list and on how it was
# split over jobs.
# Seen with: webrtcvad-wheels 2.0.14.post1 (of webrtcvad 2.0.10, with binary wheels), Python 3.11.
# Usage: bash findings/webrtcvad_state.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 webrtcvad-wheels==2.0.14.post1 setuptools==80.9.0
cd "$work"
venv/bin/python -W ignore - <<'END'
import sys
from importlib.metadata import version

import numpy as np
import webrtcvad

print("webrtcvad-wheels", version("webrtcvad-wheels"))
# one frame of 30 ms at 16 kHz
noise = (330 * np.random.default_rng(0).standard_normal(480)).astype(np.int16).tobytes()


def answers(vad, frames):
    return "".join("yes " if vad.is_speech(frame, 16000) else "no " for frame in frames)


new, used = webrtcvad.Vad(0), webrtcvad.Vad(0)
answers(used, [noise] * 20)  # the recording before
alone, after = answers(new, [noise] * 10), answers(used, [noise] * 10)
print("ten times one frame of noise, new object:                            ", alone)
print("the same, object that heard 0.6 s of that noise in another recording:", after)
print("methods:", [name for name in dir(used) if not name.startswith("_")])
as_recorded = alone.startswith("yes") and "yes" not in after and not hasattr(used, "reset")
sys.exit(0 if as_recorded else "this has changed")
END
