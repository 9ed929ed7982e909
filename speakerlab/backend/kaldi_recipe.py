"""The back-end of Kaldi's recipes as ours, and ours as theirs: mean, transform, length normalisation, PLDA.

Theirs is: ivector-subtract-global-mean, transform-vec, ivector-normalize-length, ivector-plda-scoring.
``backend = from_kaldi(plda, mean, transform)``; ``mean, transform, plda = to_kaldi(backend)``.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from speakerlab.backend.chain import Backend
from speakerlab.backend.plda import Plda
from speakerlab.backend.transforms import Centre, LengthNorm, Projection, Transform
from speakerlab.errors import DataError
from speakerlab.types import Float64Array


def from_kaldi(plda: Plda, mean: Float64Array | None, transform: Float64Array | None, source: str) -> Backend:
    """The back-end that does what Kaldi's recipes do with these.

    Args:
        plda: of ``ivector-compute-plda``.
        mean: [D], ``mean.vec`` of ``ivector-mean``; None if none is subtracted.
        transform: [E, D], or [E, D + 1] with the offset last, of ``ivector-compute-lda``; None if none
        source: where they come from, in words.

    Raises:
        DataError: sizes that do not fit.
    """
    chain: list[Transform] = [] if mean is None else [Centre(mean)]
    if transform is not None:
        size = transform.shape[1] if mean is None else len(mean)
        chain.append(Projection(transform[:, :size], f"LDA to {len(transform)}"))
        if transform.shape[1] == size + 1:
            chain.append(Centre(-transform[:, size]))
        elif transform.shape[1] != size:
            why = f"the transform takes size {transform.shape[1]}, the mean has {size}"
            raise DataError("back-end", why, "give files of one recipe")
    return Backend((*chain, LengthNorm(float(np.sqrt(plda.dim)))), plda, source)


def to_kaldi(backend: Backend) -> tuple[Float64Array, Float64Array, Plda]:
    """Mean [D], transform [E, D + 1] with the offset last, and PLDA, for Kaldi's programs.

    Raises:
        DataError: a back-end that they cannot express: without PLDA, or not: mean, linear transforms, length.
    """
    first, *linear, last = backend.transforms if len(backend.transforms) > 1 else (None, None)
    plda, fits = backend.scorer, isinstance(first, Centre) and isinstance(last, LengthNorm)
    if not (fits and isinstance(plda, Plda) and last == LengthNorm(float(np.sqrt(plda.dim)))):
        raise DataError("back-end", f"cannot be Kaldi's: {backend.describe()}", "train it with --scorer plda")
    mean = cast(Centre, first).mean
    matrix, offset = np.eye(len(mean)), np.zeros(len(mean))
    for part in linear:
        if isinstance(part, Projection):
            matrix = part.matrix @ matrix
        offset = part.apply(offset)
    return mean, np.hstack([matrix, offset[:, None]]), plda
