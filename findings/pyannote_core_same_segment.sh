#!/usr/bin/env bash
# pyannote.core keeps one speaker of two who speak over exactly the same stretch.
# Guess: annotation[segment] = 'A' and then = 'B' leaves both, as overlapping speech is what an Annotation is for.
# What happens: both go to the track '_' of that segment, so B replaces A without a word; with ends that differ by a
# millisecond both stay.
# What follows: give a track name of its own to each line: annotation[segment, number] = speaker. Turns on a grid
# (segmentation frames, RTTM rounded to 10 ms) often have equal ends.
# Seen with: pyannote.core 6.1.0, Python 3.11.
# Usage: bash findings/pyannote_core_same_segment.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 pyannote.core==6.1.0
cd "$work"
venv/bin/python -W ignore - <<'END'
import sys
from importlib.metadata import version

from pyannote.core import Annotation, Segment

print("pyannote.core", version("pyannote.core"))


def speakers(turns, *, numbered=False):
    annotation = Annotation()
    for number, (start, end, speaker) in enumerate(turns):
        if numbered:
            annotation[Segment(start, end), number] = speaker
        else:
            annotation[Segment(start, end)] = speaker
    return sorted(annotation.labels())


equal = [(0.0, 2.0, "A"), (0.0, 2.0, "B")]
shifted = [(0.0, 2.0, "A"), (0.0, 2.001, "B")]
print("A and B both from 0 to 2 s:", speakers(equal))
print("B one millisecond longer:", speakers(shifted))
print("equal, each on a track of its own:", speakers(equal, numbered=True))
as_recorded = (speakers(equal), speakers(shifted), speakers(equal, numbered=True)) == (["B"], ["A", "B"], ["A", "B"])
sys.exit(0 if as_recorded else "this has changed")
END
