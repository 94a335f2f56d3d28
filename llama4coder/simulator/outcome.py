"""What a simulation came to, in numbers for people and scripts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from llama4coder.simulator.measures import Durations, End, Ended, Measures

_SHARES = (0.5, 0.9, 0.99)


class Percentiles(msgspec.Struct, frozen=True):
    """Seconds; of nothing, none."""

    p50_s: float | None
    p90_s: float | None
    p99_s: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> "Percentiles":
        ranked = sorted(values)
        if not ranked:
            return cls(None, None, None)
        return cls(*(ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in _SHARES))

    @classmethod
    def of_histogram(cls, durations: Durations) -> "Percentiles":
        return cls(*(durations.quantile(share) if durations.total else None for share in _SHARES))


class Objectives(msgspec.Struct, frozen=True):
    """What a request must meet to count as good."""

    ttft_s: float = 2.0
    itl_s: float = 0.05  # mean time between its tokens

    def are_met(self, request: Ended) -> bool:
        """Only by what has come to its end."""
        if request.end is not End.DONE or request.first_s is None or request.first_s > self.ttft_s:
            return False
        return request.token_s is None or request.token_s <= self.itl_s


class KindOutcome(msgspec.Struct, frozen=True):
    """Requests of one kind."""

    requests: int
    good: float  # share
    ttft: Percentiles


class Outcome(msgspec.Struct, frozen=True):
    """Of requests since the warm-up; replicas and GPU hours from the beginning."""

    is_whole: bool  # it was not interrupted
    requests: int
    ends: Mapping[str, int]
    simulated_s: float
    objectives: Objectives
    good: float  # share that met both objectives
    goodput_per_s: float  # requests that did, per second of arrivals
    ttft: Percentiles
    itl: Percentiles  # of all gaps between tokens
    e2e: Percentiles
    output_tokens_per_s: float
    prompt_tokens_per_s: float
    hit_rate: float | None
    host_tokens: int
    preemptions: int
    recomputed_tokens: int
    accepted_share: float | None  # of guesses
    busy: float | None  # share of replicas' time with a step running
    failures: int
    restarts: int
    recoveries: int
    gpu_hours: float  # of targets
    draft_gpu_hours: float  # of a draft pool
    cost: float | None
    cost_per_million_output_tokens: float | None
    report_bytes_per_s: float
    by_kind: Mapping[str, KindOutcome]


def outcome_of(
    measures: Measures, objectives: Objectives, simulated_s: float, gpu_price: float | None, *, is_whole: bool
) -> Outcome:
    """All numbers; `gpu_price` is one GPU's per hour."""
    requests = list(measures.counted())
    done = [one for one in requests if one.end is End.DONE]
    counted_s = max(1e-9, simulated_s - measures.warmup_s)
    num_good = sum(map(objectives.are_met, requests))
    num_prompt, num_output = _sum(one.num_prompt for one in done), _sum(one.num_output for one in requests)
    gpu_hours, draft_gpu_hours = measures.gpu_s / 3600, measures.draft_gpu_s / 3600
    cost = None if gpu_price is None else (gpu_hours + draft_gpu_hours) * gpu_price
    all_output = _sum(one.num_output for one in measures.requests)
    return Outcome(
        is_whole=is_whole,
        requests=len(requests),
        ends=dict(sorted(Counter(one.end.value for one in requests).items())),
        simulated_s=simulated_s,
        objectives=objectives,
        good=num_good / max(1, len(requests)),
        goodput_per_s=num_good / _arriving_s(requests, measures.warmup_s, counted_s),
        ttft=Percentiles.of(one.first_s for one in requests if one.first_s is not None),
        itl=Percentiles.of_histogram(measures.gaps),
        e2e=Percentiles.of(one.total_s for one in done),
        output_tokens_per_s=num_output / counted_s,
        prompt_tokens_per_s=num_prompt / counted_s,
        hit_rate=_share(_sum(one.num_cached for one in done), num_prompt),
        host_tokens=measures.num_host_tokens,
        preemptions=measures.num_preemptions,
        recomputed_tokens=measures.num_recomputed_tokens,
        accepted_share=_share(measures.num_accepted, measures.num_drafted),
        busy=_share(measures.busy_s, measures.live_s),
        failures=measures.num_failures,
        restarts=measures.num_restarts,
        recoveries=measures.num_recoveries,
        gpu_hours=gpu_hours,
        draft_gpu_hours=draft_gpu_hours,
        cost=cost,
        cost_per_million_output_tokens=None if cost is None or not all_output else 1e6 * cost / all_output,
        report_bytes_per_s=measures.report_bytes / max(1e-9, simulated_s),
        by_kind=_by_kind(requests, objectives),
    )


def _arriving_s(requests: Sequence[Ended], warmup_s: float, counted_s: float) -> float:
    """From the warm-up to the last arrival; what is under way then ends later, without any load beside it."""
    return max((one.arrival_s for one in requests), default=0.0) - warmup_s or counted_s


def _by_kind(requests: Sequence[Ended], objectives: Objectives) -> Mapping[str, KindOutcome]:
    kinds: dict[str, list[Ended]] = {}
    for one in requests:
        kinds.setdefault(one.kind, []).append(one)
    return {
        kind: KindOutcome(
            requests=len(those),
            good=sum(map(objectives.are_met, those)) / len(those),
            ttft=Percentiles.of(one.first_s for one in those if one.first_s is not None),
        )
        for kind, those in sorted(kinds.items())
    }


def _sum(values: Iterable[int]) -> int:
    return sum(values)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
