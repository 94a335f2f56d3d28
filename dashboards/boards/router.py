"""Router: where requests go, why, and whether it was right."""

from dashboards.objectives import REPORT_AGE_S
from dashboards.panels import Board, Colour, Panel, Query, Section, Threshold, Unit, number, warn_from
from dashboards.promql import DEPLOYMENT, of_targets, quantile, rate, recorded

_OVERHEAD = "llama4coder_routing_overhead_seconds"
_BELIEVED, _FOUND = "llama4coder_prefix_hit_predicted_tokens_total", "llama4coder_prefix_hit_actual_tokens_total"
_AGE = f"max (llama4coder_route_report_age_seconds{{{DEPLOYMENT}}})"
_RUNNING, _WAITING = of_targets("llama4coder_running_requests"), of_targets("llama4coder_queue_depth_tokens")

ROUTER = Board(
    "llama4coder-router",
    "llama4coder: router",
    "Where requests go, why, and whether it was right.",
    (
        Section(
            "Now",
            (
                number("Choices", Unit.REQUESTS_PER_S, rate("llama4coder_route_decisions_total")),
                number("A choice takes, p95", Unit.SECONDS, quantile(0.95, _OVERHEAD), *warn_from(0.01, 0.05)),
                number("Oldest report", Unit.SECONDS, _AGE, *warn_from(2, REPORT_AGE_S)),
                number("Found cached", Unit.SHARE, recorded("llama4coder:prefix_hits:ratio5m")),
                number("Believed, of what was found", Unit.SHARE, f"{rate(_BELIEVED)} / {rate(_FOUND)}"),
                number(
                    "Requests recovered",
                    Unit.COUNT,
                    f"sum (increase(llama4coder_recovered_requests_total{{{DEPLOYMENT}}}[1h]))",
                ),
            ),
        ),
        Section(
            "Choices",
            (
                Panel(
                    "Why there",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_route_decisions_total", by="reason"), "{{reason}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Time to choose",
                    Unit.SECONDS,
                    tuple(Query(quantile(share, _OVERHEAD), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)),
                ),
                Panel(
                    "Age of reports",
                    Unit.SECONDS,
                    (Query(_AGE, "oldest"),),
                    thresholds=(Threshold(REPORT_AGE_S, Colour.BAD),),
                ),
                Panel(
                    "Cached prompt tokens",
                    Unit.PER_S,
                    (Query(rate(_BELIEVED), "believed"), Query(rate(_FOUND), "found")),
                    note="Requests that are refused where they were sent count as believed alone.",
                ),
                Panel(
                    "Prompt tokens by where they came from",
                    Unit.PER_S,
                    (
                        Query(rate("llama4coder_cached_input_tokens_total"), "cached"),
                        Query(rate("llama4coder_step_tokens_total", where='phase="prefill"'), "computed"),
                    ),
                ),
                Panel(
                    "Lost their replica and went on",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_recovered_requests_total"), "requests"),),
                ),
            ),
        ),
        Section(
            "Balance",
            (
                Panel("Generating, by replica", Unit.COUNT, (Query(_RUNNING, "{{replica}}"),)),
                Panel("Prompt tokens waiting, by replica", Unit.COUNT, (Query(_WAITING, "{{replica}}"),)),
                Panel(
                    "KV used or promised, by replica",
                    Unit.SHARE,
                    (Query(of_targets("llama4coder_kv_usage_ratio"), "{{replica}}"),),
                    highest=1,
                ),
                Panel(
                    "Busiest replica over the average one",
                    Unit.FACTOR,
                    (Query(f"max ({_RUNNING}) / avg ({_RUNNING})", "generating"),),
                    note="1 is balance; with one replica it is always 1.",
                ),
            ),
        ),
    ),
)
