"""What the routes stand on: model, store, index, keys and counters of one server, built once.

``service = Service.start(settings)``; ``service.close()`` finishes what was accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speakerlab.pipeline import Pipeline
from speakerlab.pipeline.decision import Threshold, judged, threshold_of
from speakerlab.pipeline.embedding import Embedded
from speakerlab.serve.answers import Heard, Identification, NamedScore, rule_of
from speakerlab.serve.engine import Engine, Limits
from speakerlab.serve.keys import KeyRing, RateLimit
from speakerlab.serve.meters import Meters
from speakerlab.serve.people import People
from speakerlab.voiceprint.enrolment import Enrolled, Person, enrol
from speakerlab.voiceprint.gates import Gates
from speakerlab.voiceprint.store import VoiceprintStore


@dataclass(frozen=True)
class Settings:
    """How a server runs.

    Attributes:
        store: file or ``postgresql://`` URL of the voiceprints.
        index: folder of the search index; None keeps it in memory.
        keys: file of the API keys.
        is_open: whether requests need no key: on loopback, as long as no keys were made.
        threshold: score from which on it is the same speaker; None takes the model's.
        limits: of the network.
        gates: what enrolments must pass.
        max_bytes: of a request.
        body_s: seconds that a request's body may take to arrive.
        hosts: names that requests may be addressed to; None for any.
        legacy: galleries by the mode names of the old routes; None leaves the routes out.
    """

    store: str
    index: Path | None = None
    keys: Path = Path("keys.json")
    is_open: bool = False
    threshold: float | None = None
    limits: Limits = field(default_factory=Limits)
    gates: Gates = field(default_factory=Gates)
    max_bytes: int = 32 << 20
    body_s: float = 60.0
    hosts: frozenset[str] | None = None
    legacy: dict[str, list[str]] | None = None


class Service:
    """One server's parts."""

    def __init__(self, settings: Settings, pipeline: Pipeline, store: VoiceprintStore) -> None:
        self.settings, self.pipeline, self.store = settings, pipeline, store
        self.threshold = threshold_of(pipeline.model, settings.threshold)
        self.meters = Meters()
        self.engine = Engine(pipeline, settings.limits, self.meters.embedded)
        self.keys, self.rates = KeyRing(settings.keys), RateLimit()
        self.embed_dim = self.engine.warm_up()
        self.people = People(store, self.threshold, settings.index, self.embed_dim)
        self.meters.watch(self.engine, self.people)

    @classmethod
    def start(cls, settings: Settings, pipeline: Pipeline) -> Service:
        """Open the store, run the network once, read the index.

        Raises:
            SpeakerLabError: a store or model that cannot be used.
        """
        return cls(settings, pipeline, VoiceprintStore.open(settings.store, actor="server"))

    def close(self) -> None:
        """Finish what was accepted."""
        self.engine.close()
        self.people.close()
        self.store.close()

    def threshold_for(self, given: float | None) -> Threshold:
        """The threshold of one request.

        Raises:
            SpeakerLabError: ``given`` cannot be one.
        """
        return self.threshold if given is None else threshold_of(self.pipeline.model, given)

    def identify(
        self,
        heard: Embedded,
        *,
        top_k: int = 5,
        gallery: str | None = None,
        speaker_ids: Sequence[str] | None = None,
        threshold: float | None = None,
    ) -> Identification:
        """Which of the people enrolled it is, if any.

        Raises:
            SpeakerLabError: a threshold that cannot be one.
            DataError: there is no such gallery.
        """
        in_force = self.threshold_for(threshold)
        found = self.people.nearest(heard.embedding, max(top_k, 2), gallery, speaker_ids)
        reasons, notes, inside = judged({"": heard.heard.speech}, in_force)
        best = found[0] if found else None
        accepted = best is not None and not reasons and best.score >= (in_force.score or 0.0)
        known = in_force.calibration
        is_calibrated = known is not None and best is not None and not reasons and inside is not False
        return Identification(
            accepted=accepted,
            decision="uncertain" if reasons else "same" if accepted else "none",
            speaker=NamedScore.of(best) if best and accepted else None,
            score=best.score if best else None,
            llr=known.llr(best.score) if known and best and is_calibrated else None,
            margin=found[0].score - found[1].score if len(found) > 1 else None,
            candidates=[NamedScore.of(one) for one in found[:top_k]],
            recording=Heard.of(heard),
            **rule_of(in_force, reasons, notes, inside=inside),
        )

    def enrol(self, heard: Sequence[Embedded], person: Person, actor: str) -> Enrolled:
        """Enrol recordings of one speaker through the gates.

        Raises:
            DataError: as ``VoiceprintStore.enrol``.
        """
        store = self.store.acting_as(actor)
        return enrol(store, heard, self.threshold, self.settings.gates, person, self.people.scores)

    def describe(self) -> dict[str, Any]:
        """The model, what its decisions rest on, and how much speech is needed and taken."""
        told = self.threshold.as_dict()
        known = self.threshold.conditions
        return {
            **told,
            "sample_rate": self.pipeline.embedder.sample_rate,
            "conditions": None if known is None else asdict(known),
            "min_enrol_speech_s": self.settings.gates.min_speech_s,
            "max_audio_s": self.settings.limits.max_audio_s,
        }
