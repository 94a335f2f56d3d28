"""A fleet as flows: rates instead of requests, one mean replica instead of all; its cost depends on neither number.

Held against `coarse` by a test, which states how far apart they are, below the edge of what a fleet carries and
beyond it. It knows no percentiles, no failures, and little of what replicas differ in.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.fluid_demand import FluidDemand
from llama4coder.simulator.fluid_replica import FluidFlow, FluidReplica
from llama4coder.simulator.fluid_tally import FluidMeans, FluidTally
from llama4coder.simulator.outcome import Objectives
from llama4coder.simulator.served import ServedReplica
from llama4coder.simulator.timeline import Moment, Timeline

_NUM_SPANS = 300  # at least
_SPANS_OF_PATIENCE = 8


class FluidKind(msgspec.Struct, frozen=True):
    """Requests of one kind."""

    requests_per_s: float
    ttft_mean_s: float
    good: float


class FluidOutcome(FluidMeans, frozen=True, kw_only=True):
    """Since the warm-up, of the whole fleet; GPU hours from the beginning."""

    developers: int
    requests: float
    simulated_s: float
    objectives: Objectives
    gpu_hours: float
    cost: float | None
    cost_per_million_output_tokens: float | None
    by_kind: Mapping[str, FluidKind]
    parts: Sequence[FluidMeans]  # of the day, the warm-up included; one where it is even


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
        patience_s = fleet.served.config.engine.queue_timeout_s
        duration_s = fleet.workload.duration_s
        self._num_spans = max(_NUM_SPANS, math.ceil(_SPANS_OF_PATIENCE * duration_s / patience_s))
        self._span_s = duration_s / self._num_spans

    def run(self) -> FluidOutcome:
        """From a cold start to the last arrival."""
        fleet, daytime, num_tokens = self._fleet, self._fleet.workload.daytime, 0.0
        counted = FluidTally(fleet.objectives, fleet.num_replicas)
        parts = [FluidTally(fleet.objectives, fleet.num_replicas) for _ in range(daytime.num_parts)]
        for number in range(self._num_spans):
            now_s, passed = number * self._span_s, (number + 0.5) / self._num_spans
            flow = self._replica.advance(now_s, self._span_s, daytime.share_at(passed))
            num_tokens += self._span_s * flow.output_per_s
            self._look((number + 1) * self._span_s, flow, num_tokens)
            parts[int(passed * len(parts))].add(flow, now_s, self._span_s)
            if now_s >= fleet.warmup_s:
                counted.add(flow, now_s, self._span_s)
        return self._outcome(counted, parts, num_tokens * fleet.num_replicas)

    def _look(self, now_s: float, flow: FluidFlow, num_tokens: float) -> None:
        num = self._fleet.num_replicas
        self.timeline.add(
            Moment(now_s, num, round(num * flow.rows), round(num * flow.waiting), round(num * num_tokens))
        )

    def _outcome(self, counted: FluidTally, parts: Sequence[FluidTally], num_tokens: float) -> FluidOutcome:
        fleet, mean_prompt = self._fleet, float(np.mean(self._demand.num_prompt))
        gpu_hours = fleet.num_replicas * fleet.served.num_gpus * fleet.workload.duration_s / 3600
        hourly = fleet.served.price_per_hour
        cost = None if hourly is None else gpu_hours / fleet.served.num_gpus * hourly
        return FluidOutcome(
            **msgspec.structs.asdict(counted.means(mean_prompt)),
            developers=fleet.workload.num_developers,
            requests=counted.arrived * fleet.num_replicas,
            simulated_s=fleet.workload.duration_s,
            objectives=fleet.objectives,
            gpu_hours=gpu_hours,
            cost=cost,
            cost_per_million_output_tokens=None if cost is None or not num_tokens else 1e6 * cost / num_tokens,
            by_kind=self._by_kind(counted),
            parts=[part.means(mean_prompt) for part in parts],
        )

    def _by_kind(self, counted: FluidTally) -> Mapping[str, FluidKind]:
        kinds = {}
        arrived, served = max(1e-12, counted.arrived), max(1e-12, counted.served)
        for place, name in enumerate(self._demand.kinds):
            those = self._demand.kind == place
            if those.any():
                kinds[name] = FluidKind(
                    requests_per_s=counted.arrived / counted.lasted_s * counted.num_replicas * float(np.mean(those)),
                    ttft_mean_s=float(np.mean(counted.first_s[those])) / served,
                    good=float(np.mean(counted.good[those])) / arrived,
                )
        return kinds
