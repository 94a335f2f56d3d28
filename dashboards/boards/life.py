"""Start, drain and failures: whether replicas are there, how they came, and what became of their requests."""

from dashboards.boards.ray import NODES, SERVE
from dashboards.panels import Board, Colour, Panel, Query, Section, Threshold, Unit, number
from dashboards.promql import DEPLOYMENT, REPLICA, quantile, rate, recorded, zero_if_none

_STARTS = "llama4coder_replica_starts_total"
_PROBE = "llama4coder_engine_probe_seconds"
_STEP, _MODEL = "llama4coder_step_time_seconds", "llama4coder_model_time_seconds"
_HOUR = "[1h]"


def _of_an_hour(counter: str) -> str:
    return f"sum (increase({counter}{{{DEPLOYMENT}}}{_HOUR}))"


def _drain_quantile(share: float) -> str:
    """Drains are seldom: those of a day, and zero if there were none."""
    buckets = f"sum by (le) (increase(llama4coder_drain_seconds_bucket{{{DEPLOYMENT}}}[1d]))"
    return f"histogram_quantile({share:g}, {buckets}) >= 0 or vector(0)"


LIFE = Board(
    "llama4coder-life",
    "llama4coder: start, drain and failures",
    "Whether replicas are there, how they came, and what became of their requests.",
    (
        Section(
            "Now",
            (
                number("Target replicas ready", Unit.COUNT, recorded("llama4coder:replicas:ready", 'pool="target"')),
                number(
                    "Replicas missing",
                    Unit.COUNT,
                    f"sum ({recorded('llama4coder:replicas:missing')})",
                    Threshold(1, Colour.BAD),
                ),
                number("Started in an hour", Unit.COUNT, _of_an_hour(_STARTS)),
                number(
                    "Recovered in an hour",
                    Unit.COUNT,
                    _of_an_hour("llama4coder_recovered_requests_total"),
                    Threshold(1, Colour.WARNING),
                ),
                number(
                    "Probes failed in an hour",
                    Unit.COUNT,
                    _of_an_hour("llama4coder_engine_probe_failures_total"),
                    Threshold(1, Colour.BAD),
                ),
                number(
                    "Metrics scraped",
                    Unit.COUNT,
                    f"min (up{{{DEPLOYMENT}}})",
                    Threshold(0, Colour.BAD),
                    Threshold(1, Colour.GOOD),
                    note="0 if Prometheus gets no metrics of this deployment.",
                ),
            ),
        ),
        Section(
            "Replicas",
            (
                Panel(
                    "Ready",
                    Unit.COUNT,
                    (
                        Query(recorded("llama4coder:replicas:ready"), "{{pool}} ready"),
                        Query(recorded("llama4coder:replicas:configured"), "{{pool}} configured"),
                    ),
                ),
                Panel(
                    "Starts",
                    Unit.COUNT,
                    (Query(f"sum by (pool) (llama4coder_replica_starts_total{{{DEPLOYMENT}}})", "{{pool}}, ever"),),
                ),
                Panel(
                    "Parts of a start",
                    Unit.SECONDS,
                    (Query(f"llama4coder_startup_seconds{{{DEPLOYMENT}, {REPLICA}}}", "{{replica}} {{phase}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Probe: a token through every rank",
                    Unit.SECONDS,
                    (Query(quantile(0.5, _PROBE), "p50"), Query(quantile(0.95, _PROBE), "p95")),
                ),
                Panel(
                    "Probes",
                    Unit.PER_S,
                    (
                        Query(rate(f"{_PROBE}_count"), "answered"),
                        Query(rate("llama4coder_engine_probe_failures_total"), "failed"),
                    ),
                ),
                Panel(
                    "Memory left, by rank",
                    Unit.BYTES,
                    (
                        Query(
                            f"llama4coder_memory_headroom_bytes{{{DEPLOYMENT}, {REPLICA}}}",
                            "{{replica}} rank {{rank}}",
                        ),
                    ),
                ),
            ),
        ),
        Section(
            "Requests",
            (
                Panel(
                    "Lost their replica and went on",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_recovered_requests_total"), "requests"),),
                ),
                Panel(
                    "Handed over by stopping replicas",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_requests_migrated_total", by="outcome"), "{{outcome}}"),),
                    note="Failed ones found no replica that could go on with them.",
                ),
                Panel(
                    "Drains",
                    Unit.SECONDS,
                    (
                        Query(_drain_quantile(0.5), "p50 of a day"),
                        Query(_drain_quantile(0.99), "p99 of a day"),
                    ),
                    note="From a target replica's being told to stop to the end of its last request.",
                ),
                Panel(
                    "Failed (5xx)",
                    Unit.REQUESTS_PER_S,
                    (
                        Query(
                            zero_if_none(rate("llama4coder_requests_total", by="code", where='code=~"5.."')), "{{code}}"
                        ),
                    ),
                ),
                Panel(
                    "Clients that left",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_client_disconnects_total"), "clients"),),
                ),
                Panel(
                    "Ends of sequences",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_finished_total", by="reason"), "{{reason}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "A step",
                    Unit.SECONDS,
                    (
                        Query(quantile(0.5, _STEP), "p50"),
                        Query(quantile(0.99, _STEP), "p99"),
                        Query(quantile(0.5, _MODEL), "model, p50"),
                    ),
                    note="Steps that stop, or take long, come before failures.",
                ),
                Panel("Steps", Unit.PER_S, (Query(rate(f"{_STEP}_count"), "steps"),)),
            ),
        ),
        SERVE,
        NODES,
    ),
)
