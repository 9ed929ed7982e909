"""EER of the network in training on held-out speakers, after each epoch.

``ValidationSet.load(Path("exp/data/valid"), config.embedder).eer(model)`` -> EER in [0, 1].
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import read_trials
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.errors import AudioError, DataError
from speakerlab.hub.bundle import EmbedderConfig
from speakerlab.metrics.detection import detection
from speakerlab.types import Float32Array, ScoreTable, TrialList


@dataclass(frozen=True)
class ValidationSet:
    """Held-out utterances with their features in memory (32 kB per second of speech) and trials."""

    config: EmbedderConfig
    feats: tuple[Float32Array, ...]
    enroll_rows: npt.NDArray[np.int64]
    test_rows: npt.NDArray[np.int64]
    trials: TrialList

    @classmethod
    def load(
        cls,
        path: Path,
        config: EmbedderConfig,
        *,
        feats_type: str,
        use_vad: bool,
        max_fail_rate: float = 0.0,
    ) -> ValidationSet:
        """Read the data dir ``path`` with its ``trials``, without those of utterances that cannot be used.

        Raises:
            DataError: no trials.
            AudioError: more utterances than ``max_fail_rate`` allows cannot be used: the first.
        """
        data = DataDir.load(path)
        if not (path / "trials").exists():
            raise DataError(path / "trials", "missing", "validation needs a trial list")
        trials = read_trials(path / "trials")
        extractor = Extractor(config, config.model.build(feat_dim=config.frontend.build().dim))
        inputs = UtteranceInputs(data, extractor, feats_type=feats_type, use_vad=use_vad)
        feats: dict[str, Float32Array] = {}
        failures: list[AudioError] = []
        for utterance in data.utterances:
            try:
                feats[str(utterance.utt_id)] = inputs[utterance]
            except AudioError as error:
                failures.append(error)
                if len(failures) > max_fail_rate * len(data.utterances):
                    raise
                logging.warning("validation: %s; its trials are left out", error)
        trials = trials.without({error.name for error in failures})
        rows = {utt_id: row for row, utt_id in enumerate(feats)}
        enroll_rows = np.array([rows[i] for i in trials.enroll_ids])
        test_rows = np.array([rows[i] for i in trials.test_ids])
        return cls(config, tuple(feats.values()), enroll_rows, test_rows, trials)

    def eer(self, model: torch.nn.Module) -> float:
        """EER of cosine scores after subtracting the set's mean embedding; ``model`` stays where it is."""
        device = str(next(model.parameters()).device)
        extractor = Extractor(self.config, model, device)
        matrix = np.concatenate([extractor.session.embed([feats]) for feats in self.feats])
        matrix = matrix - matrix.mean(0)
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        scores = np.einsum("nd,nd->n", matrix[self.enroll_rows], matrix[self.test_rows])
        return detection(ScoreTable(self.trials, scores.astype(np.float64))).eer
