#!/usr/bin/env bash
# pyroomacoustics' impulse responses begin 40 samples later than sound travels.
# Guess: with a source 3.43 m away, at 343 m/s and 16 kHz, the direct sound stands at sample 160.
# What happens: it stands at sample 200: half the length of the fractional-delay filter, 81 samples, is added to
# every path whatever the distance or sampling rate.
# What follows: cut the first 40 samples (pyroomacoustics.constants.get('frac_delay_length') // 2) before labels,
# VAD marks or a clean reference are compared with reverberated speech.
# Seen with: pyroomacoustics 0.10.1, Python 3.11.
# Usage: bash findings/pyroomacoustics_delay.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1 pyroomacoustics==0.10.1
cd "$work"
venv/bin/python -W ignore - <<'END'
import sys

import numpy as np
import pyroomacoustics

print("pyroomacoustics", pyroomacoustics.__version__)
late = []
for rate, distance in ((16000, 3.43), (16000, 1.715), (8000, 3.43)):
    room = pyroomacoustics.ShoeBox([6, 5, 3], fs=rate, max_order=0)
    room.set_sound_speed(343.0)
    room.add_source([1, 1, 1])
    room.add_microphone([1 + distance, 1, 1])
    room.compute_rir()
    peak, expected = int(np.abs(room.rir[0][0]).argmax()), distance / 343 * rate
    late.append(peak - expected)
    print(f"{distance} m at {rate} Hz: expected at sample {expected:.1f}, found at {peak}")
print("length of the fractional-delay filter:", pyroomacoustics.constants.get("frac_delay_length"))
sys.exit(0 if np.allclose(late, 40, atol=0.5) else "this has changed")
END
