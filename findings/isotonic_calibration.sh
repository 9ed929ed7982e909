#!/usr/bin/env bash
# scikit-learn's IsotonicRegression is not the step function of pool adjacent violators.
# Guess: a score gets the value of its block, and one above all training scores that of the last block.
# What happens: between blocks the value is interpolated in a straight line, and outside the training range it is
# NaN, which no comparison accepts.
# What follows: for a PAV calibration pass out_of_bounds='clip', and do not expect steps between training scores.
# Seen with: scikit-learn 1.9.1, Python 3.11.
# Usage: bash findings/isotonic_calibration.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 scikit-learn==1.9.1
cd "$work"
venv/bin/python -W ignore - <<'END'
import sys

import numpy as np
import sklearn
from sklearn.isotonic import IsotonicRegression

print("numpy", np.__version__, "scikit-learn", sklearn.__version__)
scores, labels = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), np.array([0, 0, 1, 0, 1, 1])
fitted = IsotonicRegression(y_min=0, y_max=1).fit(scores, labels)
print("trained on scores", scores, "with labels", labels)
asked = np.array([0.05, 0.1, 0.25, 0.3, 0.35, 0.4, 0.45, 0.6, 0.61])
found = fitted.predict(asked)
for score, value in zip(asked, found, strict=True):
    print(f"score {score:.2f}: probability {value}")
between, above = found[2], found[-1]
print(f"0.25 lies between the blocks 0 and 0.5 and gets {between}; 0.61 is the best score yet and gets {above}")
print("0.61 is accepted at a threshold of 0.5:", bool(above >= 0.5))
sys.exit(0 if np.isclose(between, 0.25) and np.isnan(above) and np.isnan(found[0]) else "this has changed")
END
