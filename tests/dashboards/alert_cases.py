"""Series on which an alert must fire, and others on which it must not: written as promtool has it, a value a minute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Series = Mapping[str, str]
DEPLOYMENT = 'deployment="D"'
"""Of which there is one for each case, so that all of them can be looked at at once."""


@dataclass(frozen=True, slots=True)
class Case:
    """`at` is long after `for` has passed; `quiet` says why nothing fires on it."""

    alert: str
    fires: Series
    quiet: Series
    at: str = "50m"
    severity: str = ""


def of(name: str, *labels: str) -> str:
    """A series of ours."""
    return f"llama4coder_{name}{{{','.join((DEPLOYMENT, *labels))}}}"


def _answers(good: int, failed: int) -> Series:
    return {
        of("requests_total", 'code="200"'): f"0+{good}x60",
        of("requests_total", 'code="503"'): f"0+{failed}x60",
    }


def _first_tokens(in_time: int, every: int) -> Series:
    name = "time_to_first_token_seconds"
    return {of(f"{name}_bucket", 'le="2.0"'): f"0+{in_time}x60", of(f"{name}_count"): f"0+{every}x60"}


def _replicas(configured: int, *ready: int, pool: str = "target") -> Series:
    label = f'pool="{pool}"'
    each = {of("replica_ready", label, f'replica="r{number}"'): f"{value}x60" for number, value in enumerate(ready)}
    return {of("configured_replicas", label, 'replica="i"'): f"{configured}x60", **each}


def _admitted(per_minute: int, of_which: str, number: int) -> Series:
    return {of("queue_time_seconds_count"): f"0+{per_minute}x60", of(of_which, 'outcome="restored"'): f"0+{number}x60"}


def _refused(number: int) -> Series:
    return {
        of("requests_total", 'code="200"'): "0+100x60",
        of("admission_rejections_total", 'reason="queue_full"'): f"0+{number}x60",
        of("admission_rejections_total", 'reason="too_long"'): "0+50x60",
    }


def _first_token_plan(requests_per_minute: int) -> Series:
    """0.9 s where 0.3 were planned, for one request/s."""
    return {
        of("time_to_first_token_seconds_sum"): f"0+{0.9 * requests_per_minute:g}x60",
        of("time_to_first_token_seconds_count"): f"0+{requests_per_minute}x60",
        of("queue_time_seconds_count"): f"0+{requests_per_minute}x60",
        of("planned_time_to_first_token_seconds", 'replica="i"'): "0.3x60",
        of("planned_time_to_first_token_seconds", 'replica="t"'): "0x60",
        of("planned_requests_per_second"): "1x60",
    }


def _memory(actual: int) -> Series:
    return {of("memory_bytes", 'part="kv"', 'kind="actual"'): f"{actual}x60", of("planned_kv_bytes"): "1000x60"}


def _load(per_minute: int) -> Series:
    return {of("queue_time_seconds_count"): f"0+{per_minute}x60", of("planned_requests_per_second"): "1x60"}


def _reports(age_s: int, choices: int) -> Series:
    decisions = of("route_decisions_total", 'reason="only"')
    return {of("route_report_age_seconds"): f"{age_s}x60", decisions: f"0+{choices}x60"}


def _placed(by_serve: int, *ready: int) -> Series:
    decisions = {"only": 100 - by_serve, "unknown": by_serve}
    counted = {of("route_decisions_total", f'reason="{reason}"'): f"0+{n}x60" for reason, n in decisions.items()}
    return counted | _replicas(1, *ready)


def _lookups(late: int) -> Series:
    return {
        of("pool_lookups_total", 'result="hit"'): f"0+{100 - late}x60",
        of("pool_lookups_total", 'result="late"'): f"0+{late}x60",
    }


def _scraped(*instances: str, job: str = "llama4coder") -> Series:
    """By two processes of the deployment, each at every address."""
    of_each = [(instance, replica) for instance in instances for replica in ("i", "t")]
    name, where = "active_streams", (f'job="{job}"',)
    return {of(name, *where, f'instance="{one}"', f'replica="{replica}"'): "0x60" for one, replica in of_each}


_RECOVERED, _PROBES = of("recovered_requests_total"), of("engine_probe_failures_total")
_STARTS, _QUEUE = of("replica_starts_total", 'pool="target"'), of("queue_depth_requests", 'priority="batch"')
_KEYS, _LIMITS = of("key_refusals_total", 'reason="unknown"'), of("key_refusals_total", 'reason="requests"')
_UP = f'up{{job="llama4coder",{DEPLOYMENT},instance="a"}}'
_HEADROOM = of("memory_headroom_bytes", 'rank="0"', 'replica="r"')

CASES: Sequence[Case] = (
    Case("ErrorBudgetBurn", _answers(80, 20), _answers(995, 5), severity="page"),
    Case("ErrorBudgetBurn", _answers(95, 5), _answers(980, 20), severity="ticket"),
    Case("FirstTokenBudgetBurn", _first_tokens(10, 100), _first_tokens(95, 100), severity="page"),
    Case("FirstTokenBudgetBurn", _first_tokens(60, 100), _first_tokens(75, 100), severity="ticket"),
    Case("TargetDown", {_UP: "1x40 0x20"}, {_UP: "1x60"}),
    Case("ScrapedTwice", _scraped("a", "b"), _scraped("a")),
    Case("ScrapedTwice", _scraped("a") | _scraped("a", job="again"), _scraped("a")),
    Case("NoReplicaReady", _replicas(1, 0), _replicas(2, 1)),
    Case("NoReplicaReady", _replicas(1), _replicas(1, 1)),
    Case("ReplicaMissing", _replicas(2, 1), _replicas(2, 1, 1)),
    Case("ProbeFailing", {_PROBES: "0x40 1+1x20"}, {_PROBES: "0x10 1x50"}),
    Case("ReplicaRestarts", {_STARTS: "1x30 2 3 4 5x30"}, {_STARTS: "1x30 2 3x30"}),
    Case("RequestsRecovered", {_RECOVERED: "0x45 1x20"}, {_RECOVERED: "0x10 1x50"}),
    Case("KVAlmostFull", {of("kv_usage_ratio"): "0.99x60"}, {of("kv_usage_ratio"): "0.9x60"}),
    Case("QueueGrowing", {_QUEUE: "0+2x60"}, {_QUEUE: "9x60"}),
    Case("RequestsRefused", _refused(5), _refused(0)),
    Case("ManyPreemptions", _admitted(100, "preemptions_total", 10), _admitted(100, "preemptions_total", 1)),
    Case("MemoryHeadroomLow", {_HEADROOM: "5e8x60"}, {_HEADROOM: "2e9x60"}),
    Case("RouterBlind", _reports(30, 5), _reports(30, 0)),
    Case("RouterBlind", _placed(20, 1), _placed(2, 1)),
    Case("RouterBlind", _placed(100, 1), _placed(100, 0)),
    Case("DraftPoolGone", _replicas(2, 1, pool="draft"), _replicas(2, 1, 1, pool="draft")),
    Case("DraftPoolLate", _lookups(50), _lookups(10)),
    Case("PlanTooFast", _first_token_plan(30), _first_token_plan(90)),
    Case("PlanMemoryWrong", _memory(900), _memory(1010)),
    Case("LoadAbovePlan", _load(90), _load(30)),
    Case("KeyRefusals", {_KEYS: "0x45 0+20x20"}, {_KEYS: "0+5x60", _LIMITS: "0+100x60"}),
)

_GROWING, _LEVEL = "0.3+0.0015x300", "0.6x300"  # a value an hour
CAPACITY = Case("CapacityRunsOut", {of("kv_usage_ratio"): _GROWING}, {of("kv_usage_ratio"): _LEVEL}, at="240h")
"""3.6 % of the capacity a day, of which a third is left after ten days."""
CAPACITY_WITH_GAP = Case(
    "CapacityRunsOut",
    {
        of("running_requests"): "3+0.015x300",
        of("planned_max_sequences"): "10x300",
        of("configured_replicas", 'pool="target"', 'replica="i"'): "1x300",
        of("replica_ready", 'pool="target"', 'replica="r"'): "1x200 0 1x99",
    },
    CAPACITY.quiet,
    at="240h",
)
"""One hour without a replica spoils no trend."""
CAPACITY_TOO_SOON = Case("CapacityRunsOut", CAPACITY.fires, CAPACITY.fires, at="60h")
"""A trend of two days is none."""
