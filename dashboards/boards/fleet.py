"""Fleet and SLO: what users get, and how much of what they were promised is used up."""

from dashboards.objectives import BURNS, ERRORS, FIRST_TOKEN_S, SLOW_FIRST_TOKENS, WINDOWS, Objective
from dashboards.panels import Board, Colour, Panel, Query, Section, Threshold, Unit, number, warn_from
from dashboards.promql import DEPLOYMENT, quantile, rate, recorded, zero_if_none

_TTFT, _ITL = "llama4coder_time_to_first_token_seconds", "llama4coder_inter_token_latency_seconds"
_DURATION = "llama4coder_request_duration_seconds"
_FAST = BURNS[0]


def _quantiles(histogram: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(share, histogram), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def _burn(objective: Objective) -> Panel:
    """Times too fast: 1 uses up a month's budget in a month."""
    queries = (
        Query(f"{recorded(f'llama4coder:{objective.name}:ratio{window}')} / {objective.budget:g}", window)
        for window in WINDOWS
    )
    return Panel(
        f"Burn rate: {objective.name.replace('_', ' ')}",
        Unit.FACTOR,
        tuple(queries),
        note=f"1 uses up the budget in its time: {objective.budget:.1%} may be {objective.meaning}.",
        thresholds=warn_from(BURNS[1].factor, _FAST.factor),
    )


FLEET = Board(
    "llama4coder-fleet",
    "llama4coder: fleet and SLO",
    "What users get, and how much of what they were promised is used up.",
    (
        Section(
            "Now",
            (
                number(
                    "Target replicas ready",
                    Unit.COUNT,
                    recorded("llama4coder:replicas:ready", 'pool="target"'),
                ),
                number("Requests", Unit.REQUESTS_PER_S, rate("llama4coder_requests_total")),
                number("Output tokens", Unit.PER_S, rate("llama4coder_output_tokens_total")),
                number(
                    "Failed, of an hour",
                    Unit.SHARE,
                    recorded(f"llama4coder:{ERRORS.name}:ratio1h"),
                    *warn_from(ERRORS.budget, _FAST.factor * ERRORS.budget),
                ),
                number(
                    "First token, p95",
                    Unit.SECONDS,
                    quantile(0.95, _TTFT),
                    Threshold(FIRST_TOKEN_S, Colour.BAD),
                ),
                number(
                    "Alerts firing",
                    Unit.COUNT,
                    zero_if_none(f'count(ALERTS{{alertstate="firing", {DEPLOYMENT}}})'),
                    Threshold(1, Colour.BAD),
                    note="docs/runbook.md has a section for each.",
                ),
            ),
        ),
        Section(
            "Objectives",
            (
                _burn(ERRORS),
                _burn(SLOW_FIRST_TOKENS),
                Panel(
                    "First token in time",
                    Unit.SHARE,
                    tuple(
                        Query(f"1 - {recorded(f'llama4coder:{SLOW_FIRST_TOKENS.name}:ratio{window}')}", window)
                        for window in ("5m", "1h")
                    ),
                    note=f"Within {FIRST_TOKEN_S:g} s.",
                    highest=1,
                ),
            ),
        ),
        Section(
            "Latency",
            (
                Panel("Time to first token", Unit.SECONDS, _quantiles(_TTFT)),
                Panel("Between tokens", Unit.SECONDS, _quantiles(_ITL)),
                Panel("Whole requests", Unit.SECONDS, _quantiles(_DURATION)),
                Panel("Waiting for admission", Unit.SECONDS, _quantiles("llama4coder_queue_time_seconds")),
                Panel(
                    "Whole requests by API, p95",
                    Unit.SECONDS,
                    (Query(quantile(0.95, _DURATION, by="api"), "{{api}}"),),
                ),
                Panel(
                    "Waiting",
                    Unit.COUNT,
                    (Query(f"sum by (priority) (llama4coder_queue_depth_requests{{{DEPLOYMENT}}})", "{{priority}}"),),
                    is_stacked=True,
                ),
            ),
        ),
        Section(
            "Traffic",
            (
                Panel(
                    "Requests by answer",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_requests_total", by="model, code"), "{{model}} {{code}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Requests by API",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_requests_total", by="api"), "{{api}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Tokens",
                    Unit.PER_S,
                    (
                        Query(rate("llama4coder_input_tokens_total"), "input"),
                        Query(rate("llama4coder_cached_input_tokens_total"), "of it cached"),
                        Query(rate("llama4coder_output_tokens_total"), "output"),
                    ),
                ),
                Panel(
                    "Open streams",
                    Unit.COUNT,
                    (Query(f"sum (llama4coder_active_streams{{{DEPLOYMENT}}})", "streams"),),
                ),
                Panel(
                    "Ends",
                    Unit.REQUESTS_PER_S,
                    (
                        Query(rate("llama4coder_finished_total", by="reason"), "{{reason}}"),
                        Query(rate("llama4coder_client_disconnects_total"), "client left"),
                    ),
                ),
                Panel(
                    "Refused",
                    Unit.REQUESTS_PER_S,
                    (
                        Query(rate("llama4coder_admission_rejections_total", by="reason"), "{{reason}}"),
                        Query(zero_if_none(rate("llama4coder_key_refusals_total")), "key"),
                    ),
                ),
                Panel(
                    "Refused for their key",
                    Unit.REQUESTS_PER_S,
                    (Query(zero_if_none(rate("llama4coder_key_refusals_total", by="reason")), "{{reason}}"),),
                    note="Nothing where the endpoint has no keys.",
                ),
                Panel(
                    "Tokens by key",
                    Unit.PER_S,
                    (
                        Query(
                            zero_if_none(f"topk(10, {rate('llama4coder_tenant_tokens_total', by='tenant')})"),
                            "{{tenant}}",
                        ),
                    ),
                    note="Nothing without `server.tenant_metrics`.",
                ),
            ),
        ),
    ),
)
