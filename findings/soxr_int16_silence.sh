#!/usr/bin/env bash
# soxr resamples digital silence in int16 to noise of one step.
# Guess: an int16 array of zeros stays zeros; other samples are the rounded result of the float array.
# What happens: int16 output is dithered at every quality, with no argument to turn it off: silence becomes -1, 0
# and 1, and speech gets noise of 0.6 steps. int32 and float stay exact.
# What follows: resample in float, round afterwards; a test for digital silence after soxr in int16 never fires.
# Seen with: soxr 0.5.0.post1, Python 3.11.
# Usage: bash findings/soxr_int16_silence.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 soxr==0.5.0.post1
cd "$work"
venv/bin/python -W ignore - <<'END'
import sys

import numpy as np
import soxr

print("numpy", np.__version__, "soxr", soxr.__version__)
silence = np.zeros(48000, np.int16)
found = {kind.__name__: np.unique(soxr.resample(silence.astype(kind), 48000, 16000)) for kind in (np.int16, np.int32, np.float32)}
for kind, values in found.items():
    print(f"one second of zeros in {kind}, 48 to 16 kHz, holds the values {values}")
noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48000)
speech = np.rint(noise * 32767).astype(np.int16)
rounded = np.rint(soxr.resample(speech.astype(np.float64), 48000, 16000))
error = (soxr.resample(speech, 48000, 16000) - rounded).std()
print(f"int16 differs from the rounded float result by {error:.2f} steps (standard deviation)")
as_recorded = list(found["int16"]) == [-1, 0, 1] and not found["int32"].any() and not found["float32"].any() and error > 0.3
sys.exit(0 if as_recorded else "this has changed")
END
