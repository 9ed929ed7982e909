"""One object for products: embed, compare, enrol people and recognise them.

``predictor = Predictor(voiceprints="people.db")``; ``predictor.register("ann.wav", "ann")``;
``predictor.recognition("unknown.wav").name``. Audio is any single recording that the pipeline takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab import logs
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.pipeline import pipeline
from speakerlab.pipeline.decision import Decision, Threshold, decide, judged, threshold_of
from speakerlab.pipeline.embedding import Embedded, EmbedOptions, embed
from speakerlab.pipeline.sources import find_one
from speakerlab.types import EmbeddingTable, Float32Array
from speakerlab.voiceprint import enrolment
from speakerlab.voiceprint.audio_folder import keep
from speakerlab.voiceprint.database import is_url
from speakerlab.voiceprint.enrolment import Enrolled, Person
from speakerlab.voiceprint.erasure import erase
from speakerlab.voiceprint.gates import Gates
from speakerlab.voiceprint.records import Changes, Consent, Voiceprint
from speakerlab.voiceprint.reembed import ReEmbedded, re_embed
from speakerlab.voiceprint.store import ENROL, VoiceprintStore

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


@dataclass(frozen=True)
class _Known:
    """Speaker models as of ``read``, the names in their order, and what to tell with every answer."""

    models: EmbeddingTable
    names: list[str]
    notes: tuple[str, ...]
    read: Changes


def _read(
    store: VoiceprintStore, model: str, in_force: Threshold, gallery: str | None, news: Changes
) -> _Known:
    models = store.models(model, in_force.directions, gallery=gallery)
    others = store.num_without(model)
    if not models.ids:
        if gallery is not None:
            raise DataError(store.where, f"nobody in gallery {gallery!r} is enrolled with this model", ENROL)
        if others:
            why = "everybody here was enrolled with another model, whose voiceprints cannot be compared"
            raise DataError(store.where, why, "enrol again, or run: speakerlab store re-embed")
        raise DataError(store.where, "nobody is enrolled here", ENROL)
    names = store.names()
    note = f"{others} of the people here were enrolled with another model, and are not compared"
    return _Known(models, [names[one] for one in models.ids], (note,) if others else (), news)


class Predictor:
    """A model and the people enrolled with it.

    Args:
        model: what ``pipeline`` takes; without one, the published CAM++.
        voiceprints: store of the people, a file or a ``postgresql://`` URL, made when the first is
            registered; or an open ``VoiceprintStore``.
        threshold: score from which on it is the same speaker; None takes the model's own, see ``pipeline``.
        ngpu: 1 takes the GPU where there is one, else the CPU; 0 the CPU.
        running: back-end, precision and threads of the network, see ``pipeline``.

    Raises:
        SpeakerLabError: a model that cannot be loaded, a threshold outside -1..1.
    """

    def __init__(
        self,
        model: str | Path | Bundle | WaveformGraph = "",
        voiceprints: str | Path | VoiceprintStore | None = None,
        threshold: float | None = None,
        ngpu: int = 1,
        running: SessionConfig | None = None,
    ) -> None:
        self._pipeline = pipeline(model=model, ngpu=ngpu, sv_threshold=threshold, running=running)
        self._voiceprints = voiceprints
        self._store = voiceprints if isinstance(voiceprints, VoiceprintStore) else None
        self._known: dict[str | None, _Known] = {}

    @property
    def identity(self) -> dict[str, str | None]:
        """The model's name, content hash and domain, under the names of every answer's JSON."""
        return self._pipeline.identity

    def predict(self, audio: Any, sample_rate: int = 16000, *, channel: int = 0) -> Float32Array:
        """The embedding, float32 [E], of one recording; ``sample_rate`` in Hz is of arrays and raw PCM.

        Here and in the other methods, ``channel``, from 0, is the one that is listened to.

        Raises:
            AudioError: it cannot be used.
        """
        return self._hear([audio], sample_rate, channel=channel)[0].embedding

    def predict_batch(
        self, audios: Sequence[Any], sample_rate: int = 16000, batch_size: int = 32, *, channel: int = 0
    ) -> Float32Array:
        """Embeddings, float32 [N, E], the same as one by one.

        Raises:
            SpeakerLabError: no recording.
            AudioError: one that cannot be used.
        """
        if not len(audios):  # an array has no truth value
            raise SpeakerLabError("no recording to embed")
        found = self._hear(audios, sample_rate, batch_size, channel)
        return np.stack([heard.embedding for heard in found])

    def contrast(
        self,
        first: Any,
        second: Any,
        threshold: float | None = None,
        sample_rate: int = 16000,
        *,
        channel: int = 0,
    ) -> Decision:
        """Whether two recordings are of one speaker; ``threshold`` is this call's alone.

        Raises:
            AudioError: a recording that cannot be used.
        """
        in_force = self._threshold(threshold)
        heard = self._hear([first, second], sample_rate, channel=channel)
        return decide(heard[0], heard[1], in_force)

    def register(self, audio: Any, name: str, sample_rate: int = 16000, *, channel: int = 0) -> int:
        """Enrol one recording of ``name``, or a list of them, all or none, beside those there are.

        What the gates find is told; see ``enrol`` for more options.

        Returns:
            How many voiceprints ``name`` has now; those on the review list do not count.

        Raises:
            AudioError: a recording that cannot be used, or holds too little speech: why.
            DataError: a name that cannot be one; a store that cannot be used.
        """
        done = self.enrol(audio, name, sample_rate=sample_rate, channel=channel)
        for finding in done.findings:
            logs.notice(f"{name}: {finding.why}{': on the review list' if finding.blocks else ''}")
        return done.enrolment.num_clips

    def enrol(
        self,
        audio: Any,
        name: str,
        *,
        gates: Gates | None = None,
        consent: Consent | None = None,
        galleries: Sequence[str] = (),
        sample_rate: int = 16000,
        channel: int = 0,
    ) -> Enrolled:
        """``register`` with its options, and all that it found.

        A recording without enough speech to decide on is refused, and nothing is enrolled, because it can be
        recorded again at once. What another gate stops goes to the review list.

        Args:
            audio: one recording, or a list of them.
            name: who speaks.
            gates: what the recordings must pass; None for the defaults.
            consent: what allows it.
            galleries: which to join; new ones are made.
            sample_rate: of arrays and raw PCM, in Hz.
            channel: the one that is listened to, and kept, from 0.

        Raises:
            AudioError, DataError: as ``register``.
        """
        gates = gates or Gates()
        audios = list(audio) if isinstance(audio, list | tuple) else [audio]
        heard = self._hear(audios, sample_rate, channel=channel)
        for one in heard if gates.quality else ():
            if one.heard.speech.reasons:
                why = f"cannot enrol {name}: {'; '.join(one.heard.speech.reasons)}"
                raise AudioError(one.heard.origin, why)
        store = self._people(create=True)
        for gallery in set(galleries) - set(store.galleries()):
            store.add_gallery(gallery)
        sources = [find_one(one, sample_rate) for one in audios]
        kept = keep(store.settings()["audio_folder"], sources, channel)
        person = Person(name, None, consent, galleries, kept)
        return enrolment.enrol(store, heard, self._threshold(None), gates, person)

    def recognition(
        self,
        audio: Any,
        threshold: float | None = None,
        sample_rate: int = 16000,
        gallery: str | None = None,
        *,
        channel: int = 0,
    ) -> Recognition:
        """Who of the people enrolled speaks, if anybody; ``threshold`` is this call's alone.

        Args:
            audio: one recording.
            threshold: from which on it is the same speaker.
            sample_rate: of arrays and raw PCM, in Hz.
            gallery: of these people only.
            channel: the one that is listened to, from 0.

        Raises:
            AudioError: the recording cannot be used.
            DataError: nobody is enrolled, or with another model only; there is no such gallery.
        """
        in_force = self._threshold(threshold)
        known = self._up_to_date(in_force, gallery)
        (heard,) = self._hear([audio], sample_rate, channel=channel)
        scores = in_force.score_models(known.models.matrix, heard.embedding)
        ranking = sorted(zip(known.names, scores.tolist(), strict=True), key=lambda one: (-one[1], one[0]))
        nearest, score = ranking[0]
        reasons, notes, _ = judged({"": heard.heard.speech}, in_force)
        accepted = not reasons and in_force.score is not None and score >= in_force.score
        name = nearest if accepted else None
        notes = (*notes, *known.notes)
        return Recognition(name, score, nearest, dict(ranking), in_force, reasons, notes)

    def re_embed(self) -> ReEmbedded:
        """Move the people to this model, from kept recordings; who has none must enrol again.

        Raises:
            DataError: the store cannot be used.
        """
        in_force = self._threshold(None)

        def embedded(path: Path) -> Voiceprint:
            return enrolment.voiceprint(self._hear([str(path)], 16000)[0], in_force)

        return re_embed(self._people(), str(in_force.model["model_hash"]), embedded)

    def get_users(self) -> list[str]:
        """Names of the people enrolled, of whatever model, sorted."""
        return [] if self._is_new() else [one.name for one in self._people().speakers() if one.num_clips]

    def remove_user(self, name: str) -> bool:
        """Erase ``name``; whether there was such a person."""
        found = None if self._is_new() else self._people().find(name)
        if found is not None:
            erase(self._people(), found.speaker_id)
        return found is not None

    def close(self) -> None:
        """Close the store, where this predictor opened it; the next use opens it again."""
        if self._store is not None and self._store is not self._voiceprints:
            self._store.close()
            self._store = None

    def _is_new(self) -> bool:
        """Whether nobody was ever enrolled: the file is not there yet."""
        place = self._voiceprints
        is_file = isinstance(place, str | Path) and not is_url(place)
        return self._store is None and is_file and not Path(str(place)).exists()

    def _people(self, *, create: bool = False) -> VoiceprintStore:
        if self._voiceprints is None:
            raise SpeakerLabError("this predictor has no voiceprints; give it a file for them")
        if self._store is None:
            self._store = VoiceprintStore.open(str(self._voiceprints), create=create)
        return self._store

    def _up_to_date(self, in_force: Threshold, gallery: str | None) -> _Known:
        """The speaker models, read again only where something changed."""
        store, known = self._people(), self._known.get(gallery)
        since = known.read if known else Changes(0, 0.0, (), (), is_complete=False)
        news = store.changes_since(since.revision, since.time_s)
        if known is None or news.changed or news.removed or not news.is_complete:
            known = _read(store, str(in_force.model["model_hash"]), in_force, gallery, news)
        self._known[gallery] = replace(known, read=news)
        return known

    def _threshold(self, given: float | None) -> Threshold:
        own = self._pipeline.sv_threshold
        return threshold_of(self._pipeline.model, own if given is None else given)

    def _hear(
        self, audios: Sequence[Any], sample_rate: int, batch_size: int = 1, channel: int = 0
    ) -> list[Embedded]:
        """Embeddings of single recordings, in order; the first that cannot be used is raised."""
        sources = []
        for number, audio in enumerate(audios, 1):
            sources.append((f"recording {number}", find_one(audio, sample_rate)))
        heard: list[Embedded] = []
        for result in embed(sources, self._pipeline.embedder, EmbedOptions(batch_size, channel)):
            if isinstance(result, AudioError):
                raise result
            heard.append(result)
        return heard
