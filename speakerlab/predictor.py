"""One object for products: embed, compare, enrol people and recognise them.

``predictor = Predictor(voiceprints="people")``; ``predictor.register("ann.wav", "ann")``;
``predictor.recognition("unknown.wav").name``. Audio is any single recording that the pipeline takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.pipeline import pipeline
from speakerlab.pipeline.decision import Decision, Threshold, decide, judged, threshold_of
from speakerlab.pipeline.embedding import Embedded, EmbedOptions, embed
from speakerlab.pipeline.sources import find_one
from speakerlab.types import Float32Array
from speakerlab.voiceprint.folder import Voiceprint, VoiceprintFolder

if TYPE_CHECKING:
    from speakerlab.embed.session import SessionConfig
    from speakerlab.embed.waveform_graph import WaveformGraph
    from speakerlab.hub.bundle import Bundle


@dataclass(frozen=True)
class Recognition:
    """Who it is, of the people enrolled.

    Attributes:
        name: the person, or None where nobody reaches the threshold or there is no decision.
        score: with the nearest person, whether accepted or not: a cosine, or an adapted model's score.
        nearest: that person.
        ranking: everybody's score by name, highest first.
        threshold: what the score is compared with.
        reasons: why there is no decision; empty where there is one.
        notes: what to know about the decision.
    """

    name: str | None
    score: float
    nearest: str
    ranking: dict[str, float]
    threshold: Threshold
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with model, domain, calibration and threshold as in every answer."""
        return {
            "name": self.name,
            "score": self.score,
            "nearest": self.nearest,
            "ranking": self.ranking,
            **self.threshold.as_dict(),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }


class Predictor:
    """A model and the people enrolled with it.

    Args:
        model: what ``pipeline`` takes; without one, the published CAM++.
        voiceprints: folder of the people; made when the first is registered.
        threshold: score from which on it is the same speaker; None takes the model's own, see ``pipeline``.
        ngpu: 1 takes the GPU where there is one, else the CPU; 0 the CPU.
        running: back-end, precision and threads of the network, see ``pipeline``.

    Raises:
        SpeakerLabError: a model that cannot be loaded, a threshold outside -1..1.
    """

    def __init__(
        self,
        model: str | Path | Bundle | WaveformGraph = "",
        voiceprints: str | Path | None = None,
        threshold: float | None = None,
        ngpu: int = 1,
        running: SessionConfig | None = None,
    ) -> None:
        self._pipeline = pipeline(model=model, ngpu=ngpu, sv_threshold=threshold, running=running)
        self._voiceprints = Path(voiceprints) if voiceprints is not None else None

    @property
    def identity(self) -> dict[str, str | None]:
        """The model's name, content hash and domain, under the names of every answer's JSON."""
        return self._pipeline.identity

    def predict(self, audio: Any, sample_rate: int = 16000) -> Float32Array:
        """The embedding, float32 [E], of one recording; ``sample_rate`` in Hz is of arrays and raw PCM.

        Raises:
            AudioError: it cannot be used.
        """
        return self._hear([audio], sample_rate)[0].embedding

    def predict_batch(
        self, audios: Sequence[Any], sample_rate: int = 16000, batch_size: int = 32
    ) -> Float32Array:
        """Embeddings, float32 [N, E], the same as one by one.

        Raises:
            SpeakerLabError: no recording.
            AudioError: one that cannot be used.
        """
        if not len(audios):  # an array has no truth value
            raise SpeakerLabError("no recording to embed")
        return np.stack([heard.embedding for heard in self._hear(audios, sample_rate, batch_size)])

    def contrast(
        self, first: Any, second: Any, threshold: float | None = None, sample_rate: int = 16000
    ) -> Decision:
        """Whether two recordings are of one speaker; ``threshold`` is this call's alone.

        Raises:
            AudioError: a recording that cannot be used.
        """
        in_force = self._threshold(threshold)
        heard = self._hear([first, second], sample_rate)
        return decide(heard[0], heard[1], in_force)

    def register(self, audio: Any, name: str, sample_rate: int = 16000) -> int:
        """Enrol one recording of ``name``, or a list of them, all or none, beside those there are.

        Returns:
            How many voiceprints ``name`` has now.

        Raises:
            AudioError: a recording that cannot be used, or holds too little speech: why.
            DataError: a name that cannot be one; a folder of another model.
        """
        folder = self._people()
        audios = list(audio) if isinstance(audio, list | tuple) else [audio]
        voiceprints = []
        for embedded in self._hear(audios, sample_rate):
            heard = embedded.heard
            if heard.speech.reasons:
                raise AudioError(heard.origin, f"cannot enrol {name}: {'; '.join(heard.speech.reasons)}")
            voiceprints.append(Voiceprint(embedded.embedding, heard.origin, heard.speech.speech_s))
        return folder.add(name, voiceprints)

    def recognition(
        self, audio: Any, threshold: float | None = None, sample_rate: int = 16000
    ) -> Recognition:
        """Who of the people enrolled speaks, if anybody; ``threshold`` is this call's alone.

        Raises:
            AudioError: the recording cannot be used.
            DataError: nobody is enrolled; a folder of another model.
        """
        in_force = self._threshold(threshold)
        models = self._people().models(in_force.average)
        (heard,) = self._hear([audio], sample_rate)
        scores = in_force.score_models(models.matrix, heard.embedding)
        ranking = sorted(zip(models.ids, scores.tolist(), strict=True), key=lambda one: (-one[1], one[0]))
        nearest, score = ranking[0]
        reasons, notes, _ = judged({"": heard.heard.speech}, in_force)
        accepted = not reasons and in_force.score is not None and score >= in_force.score
        name = nearest if accepted else None
        return Recognition(name, score, nearest, dict(ranking), in_force, reasons, notes)

    def get_users(self) -> list[str]:
        """Names of the people enrolled, sorted."""
        return list(self._people().counts())

    def remove_user(self, name: str) -> bool:
        """Forget ``name``; whether there was such a person."""
        return self._people().remove(name)

    def _people(self) -> VoiceprintFolder:
        if self._voiceprints is None:
            raise SpeakerLabError("this predictor has no voiceprints; give it a folder for them")
        return VoiceprintFolder(self._voiceprints, self._pipeline.model.content_hash)

    def _threshold(self, given: float | None) -> Threshold:
        own = self._pipeline.sv_threshold
        return threshold_of(self._pipeline.model, own if given is None else given)

    def _hear(self, audios: Sequence[Any], sample_rate: int, batch_size: int = 1) -> list[Embedded]:
        """Embeddings of single recordings, in order; the first that cannot be used is raised."""
        sources = []
        for number, audio in enumerate(audios, 1):
            sources.append((f"recording {number}", find_one(audio, sample_rate)))
        heard: list[Embedded] = []
        for result in embed(sources, self._pipeline.embedder, EmbedOptions(batch_size)):
            if isinstance(result, AudioError):
                raise result
            heard.append(result)
        return heard
