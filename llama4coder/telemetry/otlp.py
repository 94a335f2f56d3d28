"""Requests as spans and histograms, sent by OTLP over HTTP; OpenTelemetry is imported here and in `delivery` only."""

import time
from threading import Thread

from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llama4coder.obs.requests import RequestRecord
from llama4coder.telemetry import genai
from llama4coder.telemetry.delivery import Collector, MetricExporter, SpanQueue, silence_libraries
from llama4coder.telemetry.losses import Losses

_SCOPE = "llama4coder"
_NS_PER_S = 1e9


class OtlpTelemetry:
    """A `RequestObserver`; `instance` tells this process from the others of the deployment. To be closed."""

    def __init__(self, collector: Collector, instance: str, sample_ratio: float, interval_s: float, losses: Losses):
        silence_libraries()
        resource = Resource.create({"service.name": _SCOPE, "service.instance.id": instance})
        self._timeout_s = collector.timeout_s
        self._spans = SpanQueue(collector, losses)
        self._tracers = TracerProvider(_sampler(sample_ratio), resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(self._spans)
        self._tracer = self._tracers.get_tracer(_SCOPE)
        self._metric_exporter = MetricExporter(collector, losses)
        reader = PeriodicExportingMetricReader(self._metric_exporter, interval_s * 1000, collector.timeout_s * 1000)
        self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._histograms = _Histograms(self._meters)
        self._propagator = TraceContextTextMapPropagator()

    def on_request(self, record: RequestRecord) -> None:
        """See `RequestObserver.on_request`."""
        operation = genai.operation_of(record)
        if operation is None:
            return
        self._histograms.observe(record, operation)
        self._trace(record, operation)

    def close(self) -> None:
        """Send what is left, and return after `timeout_s` at most, whatever the collector does."""
        deadline_s = time.monotonic() + self._timeout_s
        threads = [Thread(target=end, daemon=True) for end in (self._tracers.shutdown, self._meters.shutdown)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        for exporter in (self._spans.exporter, self._metric_exporter):
            exporter.shutdown()  # whoever still waits for the collector

    def _trace(self, record: RequestRecord, operation: str) -> None:
        """A whole span at once; none is ever current, so that nothing else can become part of it."""
        headers = {} if record.trace_parent is None else {"traceparent": record.trace_parent}
        clock = _Clock(record)
        span = self._tracer.start_span(
            f"{operation} {record.model}",
            self._propagator.extract(headers),
            SpanKind.SERVER,
            genai.span_attributes(record, operation),
            start_time=clock.unix_ns(record.began_s),
        )
        if span.is_recording():
            for moment in genai.moments(record):
                span.add_event(moment.name, timestamp=clock.unix_ns(moment.at_s))
            if genai.is_fault(record):
                span.set_status(Status(StatusCode.ERROR))
        span.end(clock.unix_ns(record.ended_s))


class _Clock:
    """Turns a record's times into Unix times."""

    def __init__(self, record: RequestRecord) -> None:
        self._offset_s = record.began_unix_s - record.began_s

    def unix_ns(self, at_s: float) -> int:
        return int((at_s + self._offset_s) * _NS_PER_S)


class _Histograms:
    def __init__(self, meters: MeterProvider) -> None:
        meter = meters.get_meter(_SCOPE)

        def histogram(name: str, meaning: str, bounds_s: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, "s", meaning, explicit_bucket_boundaries_advisory=bounds_s)

        self._request = histogram(genai.REQUEST_DURATION, "From request to last byte", genai.REQUEST_DURATION_BOUNDS_S)
        self._first_token = histogram(
            genai.TIME_TO_FIRST_TOKEN, "From submission to the first token", genai.TIME_TO_FIRST_TOKEN_BOUNDS_S
        )
        self._per_output_token = histogram(
            genai.TIME_PER_OUTPUT_TOKEN, "Per token after the first", genai.TIME_PER_OUTPUT_TOKEN_BOUNDS_S
        )

    def observe(self, record: RequestRecord, operation: str) -> None:
        attributes = genai.metric_attributes(record, operation)
        latencies = genai.latencies(record)
        if latencies.first_token_s is not None:
            self._first_token.record(latencies.first_token_s, attributes)
        if latencies.per_output_token_s is not None:
            self._per_output_token.record(latencies.per_output_token_s, attributes)
        error = genai.error_type(record)
        self._request.record(latencies.request_s, attributes | ({"error.type": error} if error else {}))


def _sampler(ratio: float) -> Sampler:
    """By trace; a client may keep its trace out, and cannot put it in."""
    by_ratio = TraceIdRatioBased(ratio)
    return ParentBased(by_ratio, remote_parent_sampled=by_ratio, remote_parent_not_sampled=ALWAYS_OFF)
