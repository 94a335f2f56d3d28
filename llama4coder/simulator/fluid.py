"""A fleet as flows: rates instead of requests, one mean replica instead of all; its cost depends on neither number.

Held against `coarse` and `simulation` by a test, which states how far apart they are below the edge of what a fleet
carries. It finds that edge, and knows no percentiles, no failures, and no differences between replicas.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.fluid_demand import Floats, FluidDemand
from llama4coder.simulator.fluid_replica import FluidFlow, FluidReplica
from llama4coder.simulator.outcome import Objectives
from llama4coder.simulator.served import ServedReplica
from llama4coder.simulator.timeline import Moment, Timeline

_NUM_SPANS = 300


class FluidKind(msgspec.Struct, frozen=True):
    """Requests of one kind."""

    requests_per_s: float
    ttft_mean_s: float
    good: float


class FluidOutcome(msgspec.Struct, frozen=True):
    """Means since the warm-up, of the whole fleet; GPU hours from the beginning."""

    developers: int
    requests: float
    simulated_s: float
    objectives: Objectives
    ttft_mean_s: float
    itl_mean_s: float
    good: float  # an estimate: mean times between tokens, and exponential waits
    goodput_per_s: float
    served_per_s: float
    refused_per_s: float
    expired_per_s: float
    waiting: float  # at the end
    waiting_growth_per_s: float
    output_tokens_per_s: float
    prompt_tokens_per_s: float
    hit_rate: float
    load: float  # of what the fleet could prefill
    busy: float  # share of replicas' time with a step running
    rows: float  # generating at each replica
    gpu_hours: float
    cost: float | None
    cost_per_million_output_tokens: float | None
    by_kind: Mapping[str, FluidKind]


@dataclass(frozen=True, slots=True)
class FluidFleet:
    """Replicas of one kind, and what they are to do."""

    served: ServedReplica
    num_replicas: int
    workload: CoderWorkload
    objectives: Objectives
    warmup_s: float = 0.0


class FluidSimulation:
    """Runs once."""

    def __init__(self, fleet: FluidFleet) -> None:
        self.timeline = Timeline()
        self._fleet = fleet
        self._demand = FluidDemand.of(fleet.workload)
        self._replica = FluidReplica(fleet.served, self._demand, fleet.num_replicas)
        self._span_s = fleet.workload.duration_s / _NUM_SPANS

    def run(self) -> FluidOutcome:
        """From a cold start to the last arrival."""
        counted, num_tokens = [], 0.0
        for number in range(_NUM_SPANS):
            flow = self._replica.advance(number * self._span_s, self._span_s)
            num_tokens += self._span_s * _output_per_s(flow)
            self._look((number + 1) * self._span_s, flow, num_tokens)
            if number * self._span_s >= self._fleet.warmup_s:
                counted.append(flow)
        return self._outcome(counted, num_tokens * self._fleet.num_replicas)

    def _look(self, now_s: float, flow: FluidFlow, num_tokens: float) -> None:
        num = self._fleet.num_replicas
        self.timeline.add(
            Moment(now_s, num, round(num * flow.rows), round(num * flow.waiting), round(num * num_tokens))
        )

    def _outcome(self, flows: Sequence[FluidFlow], num_tokens: float) -> FluidOutcome:
        fleet, num = self._fleet, self._fleet.num_replicas
        good = np.mean([_good(flow, fleet.objectives) for flow in flows], axis=0)
        first_s = np.mean([flow.first_s + flow.wait_s for flow in flows], axis=0)
        gpu_hours = num * fleet.served.num_gpus * fleet.workload.duration_s / 3600
        hourly = fleet.served.price_per_hour
        cost = None if hourly is None else gpu_hours / fleet.served.num_gpus * hourly

        def mean(of: Callable[[FluidFlow], float]) -> float:
            return float(np.mean([of(flow) for flow in flows]))

        served_per_s = num * mean(lambda flow: flow.served)
        return FluidOutcome(
            developers=fleet.workload.num_developers,
            requests=fleet.workload.rate * len(flows) * self._span_s,
            simulated_s=fleet.workload.duration_s,
            objectives=fleet.objectives,
            ttft_mean_s=float(np.mean(first_s)),
            itl_mean_s=mean(lambda flow: flow.itl_s),
            good=float(np.mean(good)),
            goodput_per_s=fleet.workload.rate * float(np.mean(good)),
            served_per_s=served_per_s,
            refused_per_s=num * mean(lambda flow: flow.refused),
            expired_per_s=num * mean(lambda flow: flow.expired),
            waiting=num * flows[-1].waiting,
            waiting_growth_per_s=num * (flows[-1].waiting - flows[0].waiting) / (len(flows) * self._span_s),
            output_tokens_per_s=num * mean(_output_per_s),
            prompt_tokens_per_s=served_per_s * float(np.mean(self._demand.num_prompt)),
            hit_rate=mean(lambda flow: flow.hit_rate),
            load=mean(lambda flow: flow.load),
            busy=mean(lambda flow: flow.busy),
            rows=mean(lambda flow: flow.rows),
            gpu_hours=gpu_hours,
            cost=cost,
            cost_per_million_output_tokens=None if cost is None or not num_tokens else 1e6 * cost / num_tokens,
            by_kind=self._by_kind(first_s, good),
        )

    def _by_kind(self, first_s: Floats, good: Floats) -> Mapping[str, FluidKind]:
        kinds = {}
        for place, name in enumerate(self._demand.kinds):
            those = self._demand.kind == place
            if those.any():
                rate = self._fleet.workload.rate * float(np.mean(those))
                kinds[name] = FluidKind(rate, float(np.mean(first_s[those])), float(np.mean(good[those])))
        return kinds


def _output_per_s(flow: FluidFlow) -> float:
    """Of one replica: first tokens, and those of its rows."""
    return flow.served + flow.rows / flow.itl_s


def _good(flow: FluidFlow, objectives: Objectives) -> Floats:
    """Chance of each drawn request, where a share `load` of them waits, and those for exponential times."""
    left_s = objectives.ttft_s - flow.first_s
    share = min(1.0, flow.load)
    late = share * np.exp(-np.maximum(0.0, left_s) * share / max(1e-9, flow.wait_s))
    good = np.where(left_s >= 0, 1 - late, 0.0) if flow.itl_s <= objectives.itl_s else np.zeros(len(left_s))
    return np.asarray(good * min(1.0, flow.served / flow.arriving))
