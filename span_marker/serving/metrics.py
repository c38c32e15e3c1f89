"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "span_marker_requests", "Requests", ["route", "status"], registry=self._registry
        )  # its name ends in _total
        self._seconds = Histogram(
            "span_marker_request_seconds",
            "Seconds from receiving a request to the end of its response",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._requests_of, self._seconds_of = cache(self._requests.labels), cache(self._seconds.labels)
        self._sentences = Counter("span_marker_sentences", "Sentences that were read", registry=self._registry)
        self._words = Counter("span_marker_words", "Words that were read", registry=self._registry)
        self._group = Histogram(
            "span_marker_group_sentences",
            "Sentences per group that was read together",
            buckets=SIZES,
            registry=self._registry,
        )
        self._busy = Counter("span_marker_busy_seconds", "Seconds spent on predictions", registry=self._registry)

    def gauge(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a metric that is evaluated when it is requested."""
        Gauge(f"span_marker_{name}", description, registry=self._registry).set_function(value)

    def was_busy(self, seconds: float) -> None:
        """Count the time that a model took for a group of sentences."""
        self._busy.inc(seconds)

    def has_read(self, num_sentences: int, num_words: int) -> None:
        """Count a group of sentences."""
        self._sentences.inc(num_sentences)
        self._words.inc(num_words)
        self._group.observe(num_sentences)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests_of(route, status).inc()
        self._seconds_of(route).observe(seconds)

    def text(self) -> bytes:
        """All metrics, in the format of Prometheus."""
        return generate_latest(self._registry)
