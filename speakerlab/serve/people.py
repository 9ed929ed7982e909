"""The enrolled people as a search sees them: an index that follows the store, of this and other processes.

``people = People(store, threshold, folder)``; ``people.nearest(embedding, 5, gallery="staff")`` ->
``[Candidate(...)]``, highest score first. The index is made of the store and may be deleted at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerlab.hub import rule
from speakerlab.pipeline.decision import Threshold
from speakerlab.types import Float32Array
from speakerlab.voiceprint.index import Gallery, SearchIndex
from speakerlab.voiceprint.store import VoiceprintStore

NEAR = 10  # speakers nearest to a recording who are compared with all recordings of its speaker


@dataclass(frozen=True)
class Candidate:
    """A speaker and the score with the recording."""

    speaker_id: str
    name: str
    score: float


class People:
    """Everybody enrolled with one model.

    Args:
        store: of the people.
        threshold: of the model: how embeddings are compared.
        folder: where the index lies; None keeps it in memory.
        dim: size of the embeddings.
    """

    def __init__(self, store: VoiceprintStore, threshold: Threshold, folder: Path | None, dim: int) -> None:
        self._store, self._threshold = store, threshold
        self._model = str(threshold.model["model_hash"])
        # Cosines are the same whatever their calibration; an adaptation has directions of its own.
        adapted = threshold.adaptation
        key = f"{self._model} {rule.identity(adapted) if adapted else 'cosine'}"
        self._index = SearchIndex.open(folder, dim, key)
        self._lock = threading.Lock()
        self._time_s: float | None = None
        self._galleries: dict[str, Gallery] = {}
        self._ids: dict[str, set[str]] = {}

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def __len__(self) -> int:
        return len(self._index)

    def nearest(
        self,
        embedding: Float32Array,
        top_k: int,
        gallery: str | None = None,
        speaker_ids: Collection[str] | None = None,
    ) -> list[Candidate]:
        """The ``top_k`` speakers that score highest with an embedding [E], as the network gave it.

        Args:
            embedding: of the recording.
            top_k: how many, fewer where there are fewer.
            gallery: of these only.
            speaker_ids: of these only.

        Raises:
            DataError: there is no such gallery.
        """
        directions = self._threshold.directions(embedding[None])
        gain, bias = self._threshold.affine(directions)
        with self._lock:
            self._follow()
            among = None if gallery is None else self._members(gallery)
            if speaker_ids is not None:
                among = Gallery(speaker_ids if gallery is None else self._ids[gallery] & set(speaker_ids))
            (found,) = self._index.search(directions, top_k, gain, bias, among)
        named = zip(found.ids, found.scores.tolist(), strict=True)
        return [Candidate(one, self._store.speaker(one).name, score) for one, score in named]

    def holds(self, speaker_id: str) -> bool:
        """Whether the speaker is in the index, after all changes so far."""
        with self._lock:
            self._follow()
            return speaker_id in self._index.ids

    def scores(self, embeddings: Float32Array) -> Mapping[str, float]:
        """Mean score of recordings [N, E] of one speaker with those who are nearest to any of them."""
        near = {one.speaker_id for row in embeddings for one in self.nearest(row, NEAR)}
        if not near:
            return {}
        found: dict[str, list[float]] = {one: [] for one in near}
        for row in embeddings:
            for one in self.nearest(row, len(near), speaker_ids=near):
                found[one.speaker_id].append(one.score)
        return {one: float(np.mean(values)) for one, values in found.items() if values}

    def _follow(self) -> None:
        """Take over what was enrolled, changed and erased since, by whatever process."""
        news = self._store.changes_since(self._index.revision, self._time_s)
        if not (news.changed or news.removed) and news.is_complete and self._time_s is not None:
            self._time_s = news.time_s
            return
        if news.is_complete and self._index.revision:
            models = self._store.models(self._model, self._threshold.directions, speaker_ids=news.changed)
            self._put(models.ids, models.matrix)
            self._index.remove([*news.removed, *sorted(set(news.changed) - set(models.ids))])
        else:
            self._index.clear()
            for page in self._store.model_pages(self._model, self._threshold.directions):
                self._put(page.ids, page.matrix)
        self._galleries.clear()
        self._index.commit(news.revision)
        self._time_s = news.time_s

    def _put(self, ids: tuple[str, ...], matrix: Float32Array) -> None:
        if ids:
            gains, biases = self._threshold.affine(matrix.astype(np.float64))
            self._index.upsert(ids, matrix, gains, biases)

    def _members(self, gallery: str) -> Gallery:
        if gallery not in self._galleries:
            self._ids[gallery] = {one.speaker_id for one in self._store.speakers(gallery)}
            self._galleries[gallery] = Gallery(self._ids[gallery])
        return self._galleries[gallery]
