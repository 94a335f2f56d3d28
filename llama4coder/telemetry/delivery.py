"""The road to the collector: bounded, in threads of its own, and silent."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from llama4coder.telemetry.losses import Losses

_MAX_SPANS = 4096
_BATCH_SPANS = 256
_BATCH_DELAY_MS = 1000
_LIBRARIES = ("opentelemetry.exporter.otlp", "opentelemetry.sdk")


@dataclass(frozen=True, slots=True)
class Collector:
    """Where it is, and how it is spoken to."""

    endpoint: str
    timeout_s: float
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    ca_file: str | None = None


def silence_libraries() -> None:
    """Keep the exporters from logging whatever a collector answers, each time; `Losses` tells it instead."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class SpanExporter(OTLPSpanExporter):
    """Says of each batch whether it was taken."""

    def __init__(self, collector: Collector, done: Callable[[int, SpanExportResult], None]) -> None:
        super().__init__(**_settings(collector, "traces"))
        self._done = done

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See the base class."""
        result = SpanExportResult.FAILURE
        try:
            result = super().export(spans)
        finally:
            self._done(len(spans), result)
        return result


class MetricExporter(OTLPMetricExporter):
    """Says of each report whether it was taken."""

    def __init__(self, collector: Collector, losses: Losses) -> None:
        super().__init__(**_settings(collector, "metrics"))
        self._losses = losses

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: object
    ) -> MetricExportResult:
        """See the base class."""
        result = super().export(metrics_data, timeout_millis, **kwargs)
        if result is not MetricExportResult.SUCCESS:
            self._losses.report_failed()
        return result


class SpanQueue(SpanProcessor):
    """Hands spans to a thread that sends them in batches; one that finds too many before it is dropped, and counted.

    The bound includes the batch on its way, so that the library's own queue never overflows uncounted.
    """

    def __init__(self, collector: Collector, losses: Losses) -> None:
        self._losses = losses
        self._lock = Lock()
        self._num_spans = 0
        self.exporter = SpanExporter(collector, self._sent)
        self._batches = BatchSpanProcessor(
            self.exporter,
            max_queue_size=_MAX_SPANS,
            schedule_delay_millis=_BATCH_DELAY_MS,
            max_export_batch_size=_BATCH_SPANS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """See the base class; never waits."""
        with self._lock:
            has_room = self._num_spans < _MAX_SPANS
            self._num_spans += has_room
        if has_room:
            self._batches.on_end(span)
        else:
            self._losses.queue_full()

    def shutdown(self) -> None:
        """Send what waits, then end; may take long."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See the base class."""
        return self._batches.force_flush(timeout_millis)

    def _sent(self, num_spans: int, result: SpanExportResult) -> None:
        with self._lock:
            self._num_spans -= num_spans
        if result is not SpanExportResult.SUCCESS:
            self._losses.undelivered(num_spans)


def _settings(collector: Collector, signal: str) -> dict[str, Any]:
    """What the library's exporters want to know; nothing is left to the environment."""
    return {
        "endpoint": f"{collector.endpoint.rstrip('/')}/v1/{signal}",
        "certificate_file": collector.ca_file,
        "headers": dict(collector.headers),
        "timeout": collector.timeout_s,
        "compression": Compression.NoCompression,
        "session": _session(),
    }


def _session() -> requests.Session:
    """Straight to the collector: no proxy, and no password file, of the environment."""
    session = requests.Session()
    session.trust_env = False
    return session
