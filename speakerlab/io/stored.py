"""The one reader of stored features and voice decisions; what is wrong with them is one utterance's fault.

``features(FeatureTable("feats.scp"), "utt1", dim=80)`` -> float32 [T, 80], finite;
``voiced(FeatureTable("vad.scp"), "utt1")`` -> bool [T].
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from speakerlab.errors import AudioError, DataError
from speakerlab.io.ark import FeatureTable
from speakerlab.io.retry import retried
from speakerlab.types import Float32Array

Frames = TypeVar("Frames", bound=Any)  # an array or a tensor


def features(table: FeatureTable, utt_id: str, dim: int | None = None) -> Float32Array:
    """The features [T, F] of ``utt_id``; a copy of the caller's own.

    Args:
        table: an scp of features.
        utt_id: the utterance.
        dim: F, where it is known.

    Raises:
        AudioError: the table has none, they cannot be read, are no matrix with frames, of another size than
            ``dim``, or NaN or Inf; the message names scp and archive.
    """
    array = _array(table, utt_id)
    if array.ndim != 2 or not len(array):
        raise AudioError(
            utt_id, f"{table.where(utt_id)}: features of shape {array.shape}, not [frames, dims]"
        )
    if dim is not None and array.shape[1] != dim:
        raise AudioError(utt_id, f"{table.where(utt_id)}: features are {array.shape}, not [T, {dim}]")
    return array.astype(np.float32, copy=False)


def voiced(table: FeatureTable, utt_id: str) -> npt.NDArray[np.bool_]:
    """Whether each frame of ``utt_id`` is speech, [T]; ``speech`` compares T with its features.

    Raises:
        AudioError: the table has no decisions, they cannot be read, are no vector, or NaN or Inf.
    """
    array = _array(table, utt_id)
    if array.ndim != 1:
        raise AudioError(utt_id, f"{table.where(utt_id)}: an array {array.shape}, not a decision per frame")
    return array > 0


def speech(utt_id: str, feats: Frames, decisions: npt.NDArray[np.bool_]) -> Frames:
    """The frames of ``feats`` [T, F] that ``decisions`` [T] call speech.

    Raises:
        AudioError: the decisions are not one per frame.
    """
    if len(decisions) != len(feats):
        raise AudioError(utt_id, f"{len(feats)} frames but {len(decisions)} voice decisions")
    return cast("Frames", feats[decisions])


def _array(table: FeatureTable, utt_id: str) -> npt.NDArray[Any]:
    try:
        array = retried(lambda: table[utt_id])
    except DataError as error:
        raise AudioError(utt_id, str(error)) from error
    if not np.isfinite(array).all():
        what = "features" if array.ndim == 2 else "voice decisions"
        raise AudioError(utt_id, f"{table.where(utt_id)}: NaN or Inf {what}")
    return array
