"""Alert rules; each has a section in docs/runbook.md."""

from collections.abc import Iterator, Sequence

from dashboards import objectives as limits
from dashboards.objectives import BURNS, ERRORS, SLOW_FIRST_TOKENS, Burn, Objective
from dashboards.recording import rate_of
from dashboards.rules import Alert, Group, Severity

PAGE, TICKET = Severity.PAGE.value, Severity.TICKET.value
JOB, RAY_JOB = "llama4coder", "ray"
_OF = "of {{ $labels.deployment }}"


def alert_groups() -> Sequence[Group]:
    return (
        Group(
            "llama4coder_objectives",
            (*_burns("ErrorBudgetBurn", ERRORS), *_burns("FirstTokenBudgetBurn", SLOW_FIRST_TOKENS)),
        ),
        Group("llama4coder_life", tuple(_life())),
        Group("llama4coder_load", tuple(_load())),
        Group("llama4coder_pool", tuple(_pool())),
        Group("llama4coder_planning", tuple(_planning())),
        Group("llama4coder_keys", tuple(_keys())),
    )


def _burns(name: str, objective: Objective) -> Iterator[Alert]:
    """One name, and a severity for each speed."""
    yield from (_burn(name, objective, burn) for burn in BURNS)


def _burn(name: str, objective: Objective, burn: Burn) -> Alert:
    share = burn.factor * objective.budget
    long, short = (f"llama4coder:{objective.name}:ratio{window}" for window in (burn.long_window, burn.short_window))
    return Alert(
        name,
        burn.severity,
        f"{long} > {share:g} and {short} > {share:g}",
        burn.hold,
        f"{{{{ $value | humanizePercentage }}}} {_OF} in {burn.long_window} were {objective.meaning}; "
        f"{objective.budget:.1%} may be",
        {"window": burn.long_window},
    )


def _life() -> Iterator[Alert]:
    yield Alert(
        "TargetDown", PAGE, f'up{{job=~"{JOB}|{RAY_JOB}"}} == 0', "1m", "{{ $labels.instance }} gives no metrics"
    )
    yield Alert(
        "ScrapedTwice",
        TICKET,
        "count by (deployment) (count by (deployment, job, instance) (llama4coder_active_streams)) > 1",
        "10m",
        f"the metrics {_OF} are scraped at {{{{ $value }}}} addresses, and each tells of all of it",
    )
    yield Alert(
        "NoReplicaReady",
        PAGE,
        'llama4coder:replicas:ready{pool="target"} == 0',
        "1m",
        f"no target replica {_OF} can generate",
    )
    yield Alert(
        "ReplicaMissing",
        TICKET,
        'llama4coder:replicas:missing{pool="target"} > 0',
        "5m",
        f"{{{{ $value }}}} target replicas {_OF} are not there",
    )
    yield Alert(
        "ProbeFailing",
        PAGE,
        "sum by (deployment) (increase(llama4coder_engine_probe_failures_total[5m])) > 0",
        "2m",
        f"/ready {_OF} finds that no token comes back",
    )
    yield Alert(
        "ReplicaRestarts",
        TICKET,
        "sum by (deployment, pool) (increase(llama4coder_replica_starts_total[30m])) > 2",
        "0s",
        f"{{{{ $labels.pool }}}} replicas {_OF} were started {{{{ $value | humanize }}}} times in half an hour",
    )
    yield Alert(
        "RequestsRecovered",
        TICKET,
        "sum by (deployment) (increase(llama4coder_recovered_requests_total[15m])) > 0",
        "0s",
        f"requests {_OF} lost their replica and went on at another",
    )


def _load() -> Iterator[Alert]:
    yield Alert(
        "KVAlmostFull",
        TICKET,
        f"llama4coder:kv_usage:max > {limits.KV_FULL:g}",
        "15m",
        f"the fullest KV shard {_OF} is {{{{ $value | humanizePercentage }}}} full",
    )
    yield Alert(
        "QueueGrowing",
        TICKET,
        "min_over_time(llama4coder:queue_depth:sum[5m]) > 0 and deriv(llama4coder:queue_depth:sum[10m]) > 0",
        "5m",
        f"requests {_OF} have waited for ten minutes, and more and more of them",
    )
    yield Alert(
        "RequestsRefused",
        PAGE,
        f"llama4coder:refusals:ratio5m > {limits.REFUSED_SHARE:g}",
        "5m",
        f"{{{{ $value | humanizePercentage }}}} of the requests {_OF} are refused for want of room (429, 503)",
    )
    yield Alert(
        "ManyPreemptions",
        TICKET,
        f"llama4coder:preemptions:ratio15m > {limits.PREEMPTED_SHARE:g}",
        "15m",
        f"{{{{ $value | humanizePercentage }}}} of the sequences {_OF} are sent back to the queue",
    )
    yield Alert(
        "MemoryHeadroomLow",
        TICKET,
        f"min by (deployment, replica, rank) (llama4coder_memory_headroom_bytes) < {limits.HEADROOM_BYTES}",
        "5m",
        f"rank {{{{ $labels.rank }}}} of {{{{ $labels.replica }}}} {_OF} has {{{{ $value | humanize1024 }}}}B left",
    )
    yield from _blind()


def _blind() -> Iterator[Alert]:
    """By replicas that have fallen silent, and by requests that Serve places since no replica reports."""
    routed = rate_of("llama4coder_route_decisions_total")
    yield Alert(
        "RouterBlind",
        TICKET,
        f"max by (deployment) (llama4coder_route_report_age_seconds) > {limits.REPORT_AGE_S:g} and {routed} > 0",
        "5m",
        f"a target replica {_OF} has told the router nothing for {{{{ $value | humanizeDuration }}}}",
        {"cause": "silence"},
    )
    yield Alert(
        "RouterBlind",
        TICKET,
        f"llama4coder:routed_blindly:ratio5m > {limits.BLIND_SHARE:g} "
        'and on (deployment) llama4coder:replicas:ready{pool="target"} > 0',
        "5m",
        f"{{{{ $value | humanizePercentage }}}} of the requests {_OF} are placed without a report of any replica",
        {"cause": "no_report"},
    )


def _pool() -> Iterator[Alert]:
    yield Alert(
        "DraftPoolGone",
        TICKET,
        'llama4coder:replicas:missing{pool="draft"} > 0',
        "5m",
        f"{{{{ $value }}}} draft replicas {_OF} are not there",
    )
    yield Alert(
        "DraftPoolLate",
        TICKET,
        f"llama4coder:pool_late:ratio5m > {limits.LATE_SHARE:g}",
        "15m",
        f"{{{{ $value | humanizePercentage }}}} of the rounds {_OF} find their draft late",
    )


def _planning() -> Iterator[Alert]:
    as_planned = 'on (deployment) llama4coder:plan_load:ratio{figure="requests"} <= 1'
    yield Alert(
        "PlanTooFast",
        TICKET,
        f'llama4coder:plan_error:ratio{{figure!="kv_bytes"}} > {limits.PLAN_ERROR:g} and {as_planned}',
        "30m",
        f"{{{{ $labels.figure }}}} {_OF} is {{{{ $value | humanizePercentage }}}} longer than planned, at no more load",
    )
    yield Alert(
        "PlanMemoryWrong",
        TICKET,
        f'abs(llama4coder:plan_error:ratio{{figure="kv_bytes"}}) > {limits.PLAN_KV_ERROR:g}',
        "10m",
        f"the KV memory of a rank {_OF} is {{{{ $value | humanizePercentage }}}} off the plan",
    )
    yield Alert(
        "LoadAbovePlan",
        TICKET,
        'llama4coder:plan_load:ratio{figure="requests"} > 1',
        "30m",
        f"the load {_OF} is {{{{ $value | humanizePercentage }}}} of what the plan was made for",
    )
    yield Alert(
        "CapacityRunsOut",
        TICKET,
        f"llama4coder:capacity:days_to_full < {limits.DAYS_TO_BUY} and llama4coder:capacity_used:peak1d offset 3d",
        "6h",
        f"the daily peak of {{{{ $labels.resource }}}} {_OF} reaches its limit in {{{{ $value | humanize }}}} days",
    )


def _keys() -> Iterator[Alert]:
    yield Alert(
        "KeyRefusals",
        TICKET,
        'sum by (deployment) (increase(llama4coder_key_refusals_total{reason!~"requests|tokens|concurrent"}[5m])) '
        f"> {limits.KEY_REFUSALS}",
        "0s",
        f"{{{{ $value | humanize }}}} requests {_OF} came with a wrong key, or none, in five minutes",
    )
