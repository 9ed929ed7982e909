"""RDINO and SDPN: the ECAPA-TDNN in ``{"teacher": {"[module.]backbone.*", "[module.]head.*"}}``.

The same weights are published with two front ends. 3D-Speaker, which trained them, gives the network mel
powers, of which it takes the logarithm and removes mean and variance over time: the default here. Those of
ModelScope give it Kaldi's log fbank minus the mean instead: ``ssl_frontend="fbank"``. Embeddings differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from speakerlab.errors import DataError
from speakerlab.hub import foreign
from speakerlab.hub.bundle import Bundle
from speakerlab.hub.foreign import Origin

Frontend = Literal["mel_spectrogram", "fbank"]
CHANNELS = (1024, 1024, 1024, 1024, 3072)
EMBED_DIM = 512


def load(
    origin: Origin,
    content: Mapping[str, Any],
    sample_rate: int,
    frontend: Frontend,
    threshold: float | None = None,
) -> Bundle:
    """The teacher in ``content``, the checkpoint's entries, behind ``frontend``.

    Raises:
        DataError: no teacher, or weights that do not fit.
    """
    teacher = content.get("teacher")
    if not isinstance(teacher, Mapping):
        raise DataError(origin.weights, "holds no 'teacher', as RDINO and SDPN checkpoints do")
    state = foreign.strip_prefix(foreign.tensors(teacher, origin.weights), "module.")
    state = foreign.strip_prefix(foreign.set_aside(state, "head.", "training head"), "backbone.")
    mel = frontend == "mel_spectrogram"
    logging.info(
        "front end of %s: %s",
        origin.weights.name,
        "mel powers as in 3D-Speaker, logarithm and instance normalisation inside the network"
        if mel
        else "Kaldi's fbank minus its mean, as in ModelScope's classes",
    )
    settings = {
        "frontend": _mel_powers(sample_rate) if mel else {**foreign.UNIT_FBANK, "sample_rate": sample_rate},
        "cmvn": {"mean": not mel},
        "model": {
            "name": "ecapa_tdnn",
            "embed_dim": EMBED_DIM,
            "channels": CHANNELS,
            "log_instance_norm": mel,
        },
    }
    return foreign.to_bundle(origin, settings, state, threshold)


def _mel_powers(sample_rate: int) -> dict[str, Any]:
    """3D-Speaker's mel spectrogram: 512 points, 25 ms every 10 ms, all frequencies in 80 bands."""
    return {"name": "mel_spectrogram", "sample_rate": sample_rate, "num_mels": 80, "use_log": False}
