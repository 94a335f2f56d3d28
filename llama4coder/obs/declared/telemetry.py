"""What became of spans for a collector; fed by `telemetry`."""

from prometheus_client import CollectorRegistry, Counter


class TelemetryMetrics:
    """What became of spans for a collector; fed by `telemetry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.telemetry_dropped = Counter(
            "llama4coder_telemetry_dropped_total",
            "Spans that did not reach the collector of `telemetry.otlp_endpoint`, by why",
            ("reason",),
            registry=registry,
        )
