#!/usr/bin/env bash
# scikit-learn's LogisticRegression, as it comes, halves the slope of a score calibration.
# Guess: with 1000 trials and one feature the default penalty has no visible effect on a calibration of cosines.
# What happens: the penalty acts on the slope, and cosines span less than 1, so the true slope is near 40: the
# default gives 11, and even 10,000 trials give 20. Log-likelihood ratios shrink to between a quarter and a half.
# What follows: pass C=numpy.inf, or standardise the scores; look at Cllr, since EER does not move.
# Seen with: scikit-learn 1.9.1, Python 3.11.
# Usage: bash findings/logistic_regression_calibration.sh
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
from sklearn.linear_model import LogisticRegression

print("numpy", np.__version__, "scikit-learn", sklearn.__version__)
true = 0.6 / 0.12**2  # two normal distributions of one width: the log-likelihood ratio is a line of this slope
slopes = {}
for count in (500, 5000):
    rng = np.random.default_rng(count)
    scores = np.r_[rng.normal(0.7, 0.12, count), rng.normal(0.1, 0.12, count)][:, None]
    labels = np.r_[np.ones(count), np.zeros(count)]
    for penalty in (1.0, np.inf):
        fitted = LogisticRegression(C=penalty, max_iter=10_000).fit(scores, labels)
        slopes[count, penalty] = float(fitted.coef_[0, 0])
    print(
        f"{2 * count} cosines, true slope {true:.1f}: LogisticRegression() {slopes[count, 1.0]:.1f}, "
        f"without penalty {slopes[count, np.inf]:.1f}"
    )
as_recorded = all(slopes[count, 1.0] < 0.6 * true and slopes[count, np.inf] > 0.6 * true for count in (500, 5000))
sys.exit(0 if as_recorded else "this has changed")
END
