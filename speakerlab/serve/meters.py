"""What Prometheus reads: requests, their times, the queue, the people, decisions.

``meters = Meters()``; ``meters.text()`` is the page ``/metrics``. Labels are routes, never names or ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from speakerlab.serve.engine import Engine
    from speakerlab.serve.people import People

__all__ = ["CONTENT_TYPE", "Meters"]
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Meters:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "speakerlab_requests", "Requests", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "speakerlab_request_seconds",
            "Time of a request",
            ("route",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._embedding = Histogram(
            "speakerlab_embedding_seconds", "Time of a recording in a worker", registry=self._registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._decisions = Counter(
            "speakerlab_decisions", "Decisions", ("kind", "decision"), registry=self._registry
        )
        self._pending = Gauge(
            "speakerlab_pending_recordings", "Recordings that wait or are embedded", registry=self._registry
        )
        self._people = Gauge("speakerlab_indexed_speakers", "Speakers in the index", registry=self._registry)

    def watch(self, engine: Engine, people: People) -> None:
        """Read queue and index when the page is read."""
        self._pending.set_function(lambda: float(engine.pending))
        self._people.set_function(lambda: float(len(people)))

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def embedded(self, seconds: float) -> None:
        """Count one recording."""
        self._embedding.observe(seconds)

    def decided(self, kind: str, decision: str) -> None:
        """Count one decision."""
        self._decisions.labels(kind, decision).inc()

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
