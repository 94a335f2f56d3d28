"""Autoscaling and plan: what was planned, what is, and when it will be too little."""

from dashboards.objectives import DAYS_TO_BUY, PLAN_ERROR
from dashboards.panels import Board, Colour, Panel, Query, Section, Threshold, Unit, number, warn_from
from dashboards.promql import DEPLOYMENT, REPLICA, rate, recorded

_DAYS = recorded("llama4coder:capacity:days_to_full")
_NOTE = "The plan is the `plan` section of the Serve config, as `llama4coder plan --emit` writes it."


def planned(name: str, pool: str = "") -> str:
    """A figure of the plan; ingresses have it, and every other process a zero."""
    where = f', pool="{pool}"' if pool else ""
    return f"max (llama4coder_planned_{name}{{{DEPLOYMENT}{where}}}) > 0"


def _beside(title: str, unit: Unit, actual: str, *plans: Query) -> Panel:
    return Panel(title, unit, (Query(actual, "actual"), *plans), note=_NOTE)


def _plan(name: str, legend: str = "planned") -> Query:
    return Query(planned(name), legend)


def _replicas(pool: str) -> Panel:
    return Panel(
        f"Replicas: {pool}",
        Unit.COUNT,
        (
            Query(recorded("llama4coder:replicas:ready", f'pool="{pool}"'), "ready"),
            Query(recorded("llama4coder:replicas:configured", f'pool="{pool}"'), "configured at least"),
            Query(f'max (llama4coder_wanted_replicas{{{DEPLOYMENT}, pool="{pool}"}})', "wanted"),
            Query(f'max (llama4coder_planned_replicas{{{DEPLOYMENT}, pool="{pool}"}})', "planned"),
        ),
    )


_KV = f'max (llama4coder_memory_bytes{{{DEPLOYMENT}, {REPLICA}, part="kv", kind="actual"}})'

CAPACITY = Board(
    "llama4coder-capacity",
    "llama4coder: autoscaling and plan",
    "What was planned, what is, and when it will be too little.",
    (
        Section(
            "Now",
            (
                number(
                    "Days to full",
                    Unit.DAYS,
                    f"min ({_DAYS})",
                    Threshold(0, Colour.BAD),
                    Threshold(DAYS_TO_BUY, Colour.WARNING),
                    Threshold(3 * DAYS_TO_BUY, Colour.GOOD),
                ),
                number(
                    "Load, of the planned one",
                    Unit.SHARE,
                    recorded("llama4coder:plan_load:ratio", 'figure="requests"'),
                    *warn_from(0.9, 1),
                ),
                number(
                    "Busiest resource, peak of a day",
                    Unit.SHARE,
                    f"max ({recorded('llama4coder:capacity_used:peak1d')})",
                    *warn_from(0.8, 0.95),
                ),
                number(
                    "First token, over the plan",
                    Unit.SHARE,
                    recorded("llama4coder:plan_error:ratio", 'figure="time_to_first_token"'),
                    *warn_from(0.2, PLAN_ERROR),
                ),
                number(
                    "Target replicas missing",
                    Unit.COUNT,
                    recorded("llama4coder:replicas:missing", 'pool="target"'),
                    Threshold(1, Colour.BAD),
                ),
                number(
                    "KV memory, over the plan",
                    Unit.SHARE,
                    recorded("llama4coder:plan_error:ratio", 'figure="kv_bytes"'),
                ),
            ),
        ),
        Section(
            "Plan and actual",
            (
                _beside(
                    "Requests",
                    Unit.REQUESTS_PER_S,
                    recorded("llama4coder:requests:rate5m"),
                    _plan("requests_per_second"),
                    _plan("max_requests_per_second", "most"),
                ),
                _beside(
                    "Output tokens",
                    Unit.PER_S,
                    recorded("llama4coder:output_tokens:rate5m"),
                    _plan("output_tokens_per_second"),
                ),
                _beside(
                    "Time to first token, mean",
                    Unit.SECONDS,
                    recorded("llama4coder:time_to_first_token_seconds:mean15m"),
                    _plan("time_to_first_token_seconds"),
                ),
                _beside(
                    "Time per output token, mean",
                    Unit.SECONDS,
                    recorded("llama4coder:time_per_output_token_seconds:mean15m"),
                    _plan("inter_token_latency_seconds"),
                ),
                _beside(
                    "Sequences on a replica",
                    Unit.COUNT,
                    recorded("llama4coder:sequences:mean"),
                    _plan("sequences"),
                    _plan("max_sequences", "most"),
                ),
                _beside("KV memory of a rank", Unit.BYTES, _KV, _plan("kv_bytes")),
                Panel(
                    "By how much the plan is wrong",
                    Unit.SHARE,
                    (Query(recorded("llama4coder:plan_error:ratio"), "{{figure}}"),),
                    note="Actual over planned, less one; latencies should be below zero at less than the planned load.",
                    thresholds=(Threshold(PLAN_ERROR, Colour.BAD),),
                    lowest_is_zero=False,
                ),
                Panel(
                    "Load, of the planned one",
                    Unit.SHARE,
                    (Query(recorded("llama4coder:plan_load:ratio"), "{{figure}}"),),
                    thresholds=(Threshold(1, Colour.WARNING),),
                ),
            ),
        ),
        Section(
            "When to buy",
            (
                Panel(
                    "Used of what there is",
                    Unit.SHARE,
                    (Query(recorded("llama4coder:capacity_used:ratio"), "{{resource}}"),),
                    highest=1,
                ),
                Panel(
                    "Peak of a day",
                    Unit.SHARE,
                    (Query(recorded("llama4coder:capacity_used:peak1d"), "{{resource}}"),),
                    highest=1,
                ),
                Panel(
                    "Days to full",
                    Unit.DAYS,
                    (Query(_DAYS, "{{resource}}"),),
                    note="If the daily peaks of the last week go on as they do; 3650 where they do not grow.",
                    thresholds=(Threshold(DAYS_TO_BUY, Colour.WARNING),),
                ),
            ),
        ),
        Section(
            "Replicas, and what moves them",
            (
                _replicas("target"),
                _replicas("draft"),
                Panel(
                    "Why their number last changed",
                    Unit.COUNT,
                    (
                        Query(
                            f"max by (pool, reason) (llama4coder_scaling_reason{{{DEPLOYMENT}}}) == 1",
                            "{{pool}}: {{reason}}",
                        ),
                    ),
                ),
                Panel(
                    "Waiting and running",
                    Unit.COUNT,
                    (
                        Query(recorded("llama4coder:queue_depth:sum"), "requests waiting"),
                        Query(f"sum (llama4coder_running_requests{{{DEPLOYMENT}}})", "sequences generating"),
                    ),
                ),
                Panel(
                    "Prompt tokens waiting",
                    Unit.COUNT,
                    (Query(f"sum (llama4coder_queue_depth_tokens{{{DEPLOYMENT}}})", "tokens"),),
                ),
                Panel(
                    "Tokens that replicas compute",
                    Unit.PER_S,
                    (Query(rate("llama4coder_step_tokens_total", by="phase"), "{{phase}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Replicas that became ready",
                    Unit.COUNT,
                    (Query(f"sum by (pool) (llama4coder_replica_starts_total{{{DEPLOYMENT}}})", "{{pool}}, ever"),),
                ),
            ),
        ),
    ),
)
