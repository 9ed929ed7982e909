"""The model input of every utterance of a data dir: from audio, or from ``feats.scp`` where it exists.

``inputs = UtteranceInputs(data, extractor, feats_type="raw", use_vad=False); inputs[utterance]`` -> [T, F].
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from speakerlab.data.datadir import DataDir
from speakerlab.embed.extractor import Extractor
from speakerlab.errors import AudioError
from speakerlab.io import audio
from speakerlab.io.ark import FeatureTable
from speakerlab.types import Float32Array, Utterance


class UtteranceInputs:
    """Normalised features by utterance, made when asked for.

    Args:
        data: the data dir.
        extractor: gives front end and normalisation.
        feats_type: ``raw`` computes features from audio, ``fbank`` reads ``feats.scp``.
        use_vad: keep only the frames that ``vad.scp`` calls speech.
    """

    def __init__(self, data: DataDir, extractor: Extractor, *, feats_type: str, use_vad: bool) -> None:
        self._data, self._extractor = data, extractor
        feats = FeatureTable(data.path / "feats.scp") if feats_type == "fbank" else None
        self._feats: Mapping[str, Float32Array] | None = feats
        self._voiced = FeatureTable(data.path / "vad.scp") if use_vad else None

    def __getitem__(self, utterance: Utterance) -> torch.Tensor:
        """Model input [T, F] of ``utterance``.

        Raises:
            AudioError: its audio or features cannot be used.
        """
        utt_id = utterance.utt_id
        voiced = self._voiced[utt_id] if self._voiced is not None else None
        return self._extractor.normalise(utt_id, self._raw(utterance), voiced)

    def _raw(self, utterance: Utterance) -> torch.Tensor:
        if self._feats is None:
            recording = self._data.recordings[utterance.segment.rec_id]
            waveform = audio.read(recording, utterance.segment, self._extractor.sample_rate)
            return self._extractor.features(waveform)
        feats = torch.from_numpy(self._feats[utterance.utt_id].copy())
        dim = int(self._extractor.frontend.dim)
        if feats.ndim != 2 or feats.shape[1] != dim:
            raise AudioError(
                utterance.utt_id, f"features are {tuple(feats.shape)}, the model needs [T, {dim}]"
            )
        return feats
