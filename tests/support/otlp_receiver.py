"""A collector: a real OTLP/HTTP receiver on loopback that keeps the bytes as they came."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.support.certificates import Certificates

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class SpanSeen:
    """A span, decoded; times in nanoseconds."""

    name: str
    trace_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: dict[str, Any]
    events: dict[str, int]


@dataclass(frozen=True, slots=True)
class HistogramSeen:
    """One series of a histogram, decoded."""

    name: str
    attributes: dict[str, Any]
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(slots=True)
class Receiver:
    """What has come, by path; it answers with `status`, after `delay_s`."""

    url: str = ""
    status: int = 200
    delay_s: float = 0.0
    bodies: dict[str, list[bytes]] = field(default_factory=lambda: {"/v1/traces": [], "/v1/metrics": []})
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def raw(self) -> bytes:
        return b"\n".join(body for bodies in self.bodies.values() for body in bodies)

    def spans(self) -> list[SpanSeen]:
        """All spans so far, in the order in which they began."""
        found = []
        for body in self.bodies["/v1/traces"]:
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for of_scope in of_resource.scope_spans:
                    found += [_span(span) for span in of_scope.spans]
        return sorted(found, key=lambda span: span.start_ns)

    def histograms(self) -> list[HistogramSeen]:
        """The last report's."""
        last = ExportMetricsServiceRequest.FromString(self.bodies["/v1/metrics"][-1])
        return [
            HistogramSeen(
                metric.name,
                _attributes(point.attributes),
                tuple(point.explicit_bounds),
                tuple(point.bucket_counts),
                point.sum,
            )
            for of_resource in last.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
            for point in metric.histogram.data_points
        ]

    def until(self, condition: Callable[["Receiver"], bool]) -> None:
        """Wait for it; `AssertionError` if it does not come true."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not condition(self):
            assert time.monotonic() < deadline_s, f"{len(self.spans())} spans came"
            time.sleep(0.01)


def _span(span: Any) -> SpanSeen:
    return SpanSeen(
        span.name,
        span.trace_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        _attributes(span.attributes),
        {event.name: event.time_unix_nano for event in span.events},
    )


def _attributes(pairs: "list[KeyValue]") -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: "AnyValue") -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))


@contextmanager
def receiving(certificates: Certificates | None = None) -> Iterator[Receiver]:
    """A running receiver; by https if it has certificates."""
    receiver = Receiver()

    class Handler(_Handler):
        kept = receiver

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    kept: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.kept.delay_s)
        if self.kept.status == 200:
            self.kept.bodies[self.path].append(body)
            self.kept.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(self.kept.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass
