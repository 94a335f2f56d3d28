"""Recording rules: what panels and alerts share, one series for each deployment. Named level:metric:operation."""

from collections.abc import Iterator, Sequence

from dashboards.objectives import ERRORS, FIRST_TOKEN_S, MOST_DAYS, SLOW_FIRST_TOKENS, WINDOWS
from dashboards.rules import Group, Recording

ADMITTED = "llama4coder_queue_time_seconds_count"  # a request that is refused never leaves the queue
_PEAK_WINDOW, _TREND_WINDOW = "1d", "7d"
_SECONDS_PER_DAY = 86400
_FAILED = '{code=~"5.."}'


def recording_groups() -> Sequence[Group]:
    return (
        Group("llama4coder_requests", (*_traffic(), *_objectives())),
        Group("llama4coder_replicas", tuple(_replicas())),
        Group("llama4coder_drafts", tuple(_drafts())),
        Group("llama4coder_plan", tuple(_plan())),
        Group("llama4coder_capacity", tuple(_capacity())),
    )


def rate_of(series: str, window: str = "5m", where: str = "") -> str:
    return f"sum by (deployment) (rate({series}{where}[{window}]))"


def planned(gauge: str) -> str:
    """Ingresses show the plan, and every other process a zero, as all do where there is none."""
    return f"(max by (deployment) ({gauge}) > 0)"


def _traffic() -> Iterator[Recording]:
    yield Recording("llama4coder:requests:rate5m", rate_of(ADMITTED))
    yield Recording("llama4coder:input_tokens:rate5m", rate_of("llama4coder_input_tokens_total"))
    yield Recording("llama4coder:output_tokens:rate5m", rate_of("llama4coder_output_tokens_total"))
    yield Recording("llama4coder:queue_depth:sum", "sum by (deployment) (llama4coder_queue_depth_requests)")
    refused = rate_of("llama4coder_admission_rejections_total", where='{reason=~"queue_full|queue_timeout"}')
    yield Recording("llama4coder:refusals:ratio5m", f"{refused} / {rate_of('llama4coder_requests_total')}")
    yield Recording(
        "llama4coder:preemptions:ratio15m",
        f"{rate_of('llama4coder_preemptions_total', '15m')} / {rate_of(ADMITTED, '15m')}",
    )
    routed = "llama4coder_route_decisions_total"
    blind = rate_of(routed, where='{reason="unknown"}')
    yield Recording("llama4coder:routed_blindly:ratio5m", f"({blind} or 0 * {rate_of(routed)}) / {rate_of(routed)}")
    cached = rate_of("llama4coder_cached_input_tokens_total")
    yield Recording("llama4coder:prefix_hits:ratio5m", f"{cached} / {rate_of('llama4coder_input_tokens_total')}")
    ttft = "llama4coder_time_to_first_token_seconds"
    yield Recording(
        f"{_recorded(ttft)}:mean15m", f"{rate_of(f'{ttft}_sum', '15m')} / {rate_of(f'{ttft}_count', '15m')}"
    )
    waited = rate_of("llama4coder_inter_token_latency_seconds_sum", "15m")
    yield Recording(
        "llama4coder:time_per_output_token_seconds:mean15m",
        f"{waited} / {rate_of('llama4coder_output_tokens_total', '15m')}",
    )


def _recorded(series: str) -> str:
    return series.replace("llama4coder_", "llama4coder:", 1)


def _objectives() -> Iterator[Recording]:
    """The share that goes wrong, by window; 5xx answers have no series before the first one."""
    first, total = "llama4coder_time_to_first_token_seconds", "llama4coder_requests_total"
    for window in WINDOWS:
        every = rate_of(total, window)
        failed = rate_of(total, window, _FAILED)
        yield Recording(f"llama4coder:{ERRORS.name}:ratio{window}", f"({failed} or 0 * {every}) / {every}")
        in_time = rate_of(f"{first}_bucket", window, f'{{le="{FIRST_TOKEN_S}"}}')
        yield Recording(
            f"llama4coder:{SLOW_FIRST_TOKENS.name}:ratio{window}",
            f"1 - {in_time} / {rate_of(f'{first}_count', window)}",
        )


def _replicas() -> Iterator[Recording]:
    configured = "max by (deployment, pool) (llama4coder_configured_replicas)"
    ready = "sum by (deployment, pool) (llama4coder_replica_ready)"
    yield Recording("llama4coder:replicas:configured", configured)
    yield Recording("llama4coder:replicas:ready", f"{ready} or 0 * {configured}")
    yield Recording(
        "llama4coder:replicas:missing",
        "clamp_min(llama4coder:replicas:configured - llama4coder:replicas:ready, 0)",
    )
    yield Recording("llama4coder:kv_usage:max", "max by (deployment) (llama4coder_kv_usage_ratio)")
    running = "sum by (deployment) (llama4coder_running_requests)"
    targets = '(sum without (pool) (llama4coder:replicas:ready{pool="target"}) > 0)'  # no peak is infinite
    yield Recording("llama4coder:sequences:mean", f"{running} / {targets}")


def _drafts() -> Iterator[Recording]:
    lookups = rate_of("llama4coder_pool_lookups_total")
    late = rate_of("llama4coder_pool_lookups_total", where='{result="late"}')
    yield Recording("llama4coder:pool_late:ratio5m", f"{late} / {lookups}")
    hits = rate_of("llama4coder_pool_lookups_total", where='{result="hit"}')
    yield Recording("llama4coder:pool_hits:ratio5m", f"{hits} / {lookups}")
    accepted = rate_of("llama4coder_draft_accepted_tokens_total")
    yield Recording("llama4coder:draft_acceptance:ratio5m", f"{accepted} / {rate_of('llama4coder_draft_tokens_total')}")


def _plan() -> Iterator[Recording]:
    """By how much the plan was wrong, and how much of the load that it was made for there is.

    Latencies are comparable only where the load is no higher than planned; where it is lower they should be better.
    """
    kv = 'max by (deployment) (llama4coder_memory_bytes{part="kv", kind="actual"})'
    ttft, itl = "llama4coder_planned_time_to_first_token_seconds", "llama4coder_planned_inter_token_latency_seconds"
    for figure, actual, expected in (
        ("kv_bytes", kv, "llama4coder_planned_kv_bytes"),
        ("time_to_first_token", "llama4coder:time_to_first_token_seconds:mean15m", ttft),
        ("time_per_output_token", "llama4coder:time_per_output_token_seconds:mean15m", itl),
    ):
        yield Recording("llama4coder:plan_error:ratio", f"{actual} / {planned(expected)} - 1", {"figure": figure})
    for figure, actual, expected in (
        ("requests", "llama4coder:requests:rate5m", "llama4coder_planned_requests_per_second"),
        ("output_tokens", "llama4coder:output_tokens:rate5m", "llama4coder_planned_output_tokens_per_second"),
        ("sequences", "llama4coder:sequences:mean", "llama4coder_planned_sequences"),
    ):
        yield Recording("llama4coder:plan_load:ratio", f"{actual} / {planned(expected)}", {"figure": figure})


def _capacity() -> Iterator[Recording]:
    """What is used of what there is, its daily peaks, and when these would reach all of it if they went on so."""
    for resource, used in (
        ("kv", "llama4coder:kv_usage:max"),
        ("requests", f"llama4coder:requests:rate5m / {planned('llama4coder_planned_max_requests_per_second')}"),
        ("sequences", f"llama4coder:sequences:mean / {planned('llama4coder_planned_max_sequences')}"),
    ):
        yield Recording("llama4coder:capacity_used:ratio", used, {"resource": resource})
    yield Recording(
        "llama4coder:capacity_used:peak1d", f"max_over_time(llama4coder:capacity_used:ratio[{_PEAK_WINDOW}])"
    )
    per_day = f"deriv(llama4coder:capacity_used:peak1d[{_TREND_WINDOW}]) * {_SECONDS_PER_DAY}"
    left = "clamp_min(1 - llama4coder:capacity_used:peak1d, 0)"
    yield Recording("llama4coder:capacity:days_to_full", f"clamp_max({left} / clamp_min({per_day}, 1e-9), {MOST_DAYS})")
