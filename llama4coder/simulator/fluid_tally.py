"""Means over spans of flows; each of requests by how many there are, each of replicas by how long it lasts."""

from dataclasses import dataclass, field

import msgspec
import numpy as np

from llama4coder.simulator.fluid_demand import Floats
from llama4coder.simulator.fluid_replica import FluidFlow
from llama4coder.simulator.outcome import Objectives


class FluidMeans(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole fleet, over some time."""

    since_s: float
    requests_per_s: float
    served_per_s: float
    refused_per_s: float
    expired_per_s: float
    refused: float  # share of requests
    expired: float
    good: float  # an estimate: mean times between tokens, and exponential waits
    goodput_per_s: float
    ttft_mean_s: float  # of those served, as the next two
    queue_mean_s: float  # of that, in a queue that load has filled
    itl_mean_s: float
    queue_most_s: float
    waiting: float  # at the end
    waiting_most: float
    waiting_growth_per_s: float
    output_tokens_per_s: float
    prompt_tokens_per_s: float
    hit_rate: float
    load: float  # of what the fleet could prefill
    busy: float  # share of replicas' time with a step running
    rows: float  # generating at each replica


@dataclass(slots=True)
class FluidTally:
    """Sums over spans, of one replica; of `first_s` and `good` one for each drawn request."""

    objectives: Objectives
    num_replicas: int
    since_s: float = 0.0
    lasted_s: float = 0.0
    arrived: float = 0.0
    first_s: Floats = field(default_factory=lambda: np.zeros(1))
    good: Floats = field(default_factory=lambda: np.zeros(1))
    served: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)
    _waiting: list[float] = field(default_factory=list)
    _queue_most_s: float = 0.0

    def add(self, flow: FluidFlow, now_s: float, span_s: float) -> None:
        """A span that begins now."""
        if not self.lasted_s:
            self.since_s = now_s
        self.lasted_s += span_s
        arrived, served = flow.arriving * span_s, flow.served * span_s
        self.arrived += arrived
        self.served += served
        self.first_s = self.first_s + served * (flow.first_s + flow.wait_s)
        self.good = self.good + arrived * _good(flow, self.objectives)
        self._waiting.append(flow.waiting)
        self._queue_most_s = max(self._queue_most_s, flow.queue_s)
        output = flow.output_per_s * span_s
        for name, value in (
            ("refused", flow.refused * span_s),
            ("expired", flow.expired * span_s),
            ("queue_s", served * flow.queue_s),
            ("hits", served * flow.hit_rate),
            ("output", output),
            ("between_s", output * flow.itl_s),
            ("load", span_s * flow.load),
            ("busy", span_s * flow.busy),
            ("rows", span_s * flow.rows),
        ):
            self._sums[name] = self._sums.get(name, 0.0) + value

    def means(self, mean_prompt: float) -> FluidMeans:
        """Where `mean_prompt` tokens is what a prompt has."""
        per_s = self.num_replicas / self.lasted_s
        sums, arrived, served = self._sums, max(1e-12, self.arrived), max(1e-12, self.served)
        good = float(np.mean(self.good)) / arrived
        return FluidMeans(
            since_s=self.since_s,
            requests_per_s=per_s * self.arrived,
            served_per_s=per_s * self.served,
            refused_per_s=per_s * sums["refused"],
            expired_per_s=per_s * sums["expired"],
            refused=sums["refused"] / arrived,
            expired=sums["expired"] / arrived,
            good=good,
            goodput_per_s=per_s * self.arrived * good,
            ttft_mean_s=float(np.mean(self.first_s)) / served,
            queue_mean_s=sums["queue_s"] / served,
            itl_mean_s=sums["between_s"] / max(1e-12, sums["output"]),
            queue_most_s=self._queue_most_s,
            waiting=self.num_replicas * self._waiting[-1],
            waiting_most=self.num_replicas * max(self._waiting),
            waiting_growth_per_s=per_s * (self._waiting[-1] - self._waiting[0]),
            output_tokens_per_s=per_s * sums["output"],
            prompt_tokens_per_s=per_s * self.served * mean_prompt,
            hit_rate=sums["hits"] / served,
            load=sums["load"] / self.lasted_s,
            busy=sums["busy"] / self.lasted_s,
            rows=sums["rows"] / self.lasted_s,
        )


def _good(flow: FluidFlow, objectives: Objectives) -> Floats:
    """Chance of each drawn request, where a share `load` of them waits, and those for exponential times."""
    left_s = objectives.ttft_s - flow.first_s
    share = min(1.0, flow.load)
    late = share * np.exp(-np.maximum(0.0, left_s) * share / max(1e-9, flow.wait_s))
    good = np.where(left_s >= 0, 1 - late, 0.0) if flow.itl_s <= objectives.itl_s else np.zeros(len(left_s))
    return np.asarray(good * min(1.0, flow.served / flow.arriving if flow.arriving else 1.0))
