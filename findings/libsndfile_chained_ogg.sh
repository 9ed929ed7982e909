#!/usr/bin/env bash
# libsndfile reads the first part of a chained Ogg file as the whole, without an error.
# Guess: Ogg files joined one after the other are a valid Ogg file (RFC 3533, 4), and are read to the end.
# What happens: the number of frames, what is read and the position that can be sought are those of the first part.
# What follows: recordings of radio streams and of recorders that start anew are cut short; take the file apart by its
# pages, whose flag 2 begins a part, and read part after part.
# Seen with: soundfile 0.14.0 (libsndfile 1.2.2), Python 3.11.
# Usage: bash findings/libsndfile_chained_ogg.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 soundfile==0.14.0
cd "$work"
venv/bin/python - <<'END'
import io
import sys

import numpy as np
import soundfile

print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
samples = np.random.default_rng(0).normal(0, 0.1, 16000)


def written(codec, frames):
    stream = io.BytesIO()
    soundfile.write(stream, samples[:frames], 16000, format="OGG", subtype=codec)
    return stream.getvalue()


changed = []
for codec in ("VORBIS", "OPUS"):
    with soundfile.SoundFile(io.BytesIO(written(codec, 16000) + written(codec, 8000))) as sound:
        frames, found = sound.frames, len(sound.read())
    print(f"{codec}: a part of 16000 frames and one of 8000: {frames} stated, {found} read, no error")
    if not frames == found == 16000:
        changed.append(codec)
sys.exit(f"this has changed: {', '.join(changed)}" if changed else 0)
END
