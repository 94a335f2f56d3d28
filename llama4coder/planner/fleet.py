"""How many replicas a rate needs, what each then does, and what it costs."""

import math
from dataclasses import dataclass

from llama4coder.errors import ConfigError
from llama4coder.planner.replica import Pace, Replica
from llama4coder.planner.traffic import Objectives

_LESS_CAPACITY = (0.01, 0.1, 0.22)
"""Shares of the capacity that a plan may lack; 22 % is by how much a published simulator once erred."""
_MOST_REPLICAS = 2**24
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What would become of the first token if there were less capacity than was planned."""

    lacking: float  # share of the capacity
    utilisation: float
    ttft_s: float | None  # None: it would not keep up


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas of the target and of the draft pool for a rate."""

    rate_per_s: float
    num_targets: int
    num_drafts: int
    gpus_per_target: int
    pace: Pace  # of each target
    idle: Pace
    shortfalls: tuple[Shortfall, ...]
    output_tokens: int  # of a request

    @property
    def num_gpus(self) -> int:
        return self.num_targets * self.gpus_per_target + self.num_drafts

    @property
    def output_tokens_per_s(self) -> float:
        return self.rate_per_s * self.output_tokens

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Of output, the draft pool's GPUs counted."""
        return self.output_tokens_per_s / self.num_gpus

    @property
    def elasticity(self) -> float:
        """Per cent that the first token comes later for each per cent of capacity that is missing."""
        least = self.shortfalls[0]
        if least.ttft_s is None:
            return math.inf
        return (least.ttft_s / self.pace.ttft.total_s - 1) / least.lacking

    def price_per_million_output(self, gpu_hour: float) -> float:
        """In the currency of a GPU's hour, at this rate."""
        return self.num_gpus * gpu_hour / _SECONDS_PER_HOUR / self.output_tokens_per_s * 1e6


def fleet_for(replica: Replica, gpus_per_target: int, rate_per_s: float, objectives: Objectives) -> Fleet:
    """The smallest that meets the objectives at this rate.

    Raises:
        ConfigError: none does, however large; says what each replica does at best.
    """
    idle = _idle(replica, objectives)
    fits, fails = 1, 0
    while not _meets(replica, rate_per_s / fits, objectives):
        fits, fails = 2 * fits, fits
        if fits > _MOST_REPLICAS:
            raise ConfigError(f"{rate_per_s:g} requests/s need more than {_MOST_REPLICAS} replicas: lower --rate")
    while fits - fails > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if _meets(replica, rate_per_s / middle, objectives) else (fits, middle)
    return _fleet(replica, gpus_per_target, rate_per_s, fits, idle)


def fleet_on(replica: Replica, gpus_per_target: int, num_gpus: int, objectives: Objectives) -> Fleet:
    """The one that carries the most on so many GPUs, at least one target's.

    Raises:
        ConfigError: the objectives cannot be met.
    """
    idle = _idle(replica, objectives)
    rate_per_s = replica.rate_within(objectives)
    for num_targets in range(max(1, num_gpus // gpus_per_target), 1, -1):
        fleet = _fleet(replica, gpus_per_target, num_targets * rate_per_s, num_targets, idle)
        if fleet.num_gpus <= num_gpus:
            return fleet
    return _fleet(replica, gpus_per_target, rate_per_s, 1, idle)


def _idle(replica: Replica, objectives: Objectives) -> Pace:
    pace = replica.idle
    if pace is None:
        raise ConfigError("no request of this size fits in a replica's KV blocks: shorten it, or give it more memory")
    for name, seconds, wanted, bound in (
        ("ttft", pace.ttft.total_s, objectives.ttft_s, pace.steady.chunk.bound),
        ("itl", pace.steady.itl_s, objectives.itl_s, pace.steady.decode.bound),
    ):
        if wanted is not None and seconds > wanted:
            raise ConfigError(
                f"no number of replicas meets --{name} {wanted * 1e3:g}: it is {seconds * 1e3:.3g} ms where "
                f"nothing else runs, mostly {bound}; use more ranks, fewer bits or another GPU, or allow more"
            )
    return pace


def _meets(replica: Replica, rate_per_s: float, objectives: Objectives) -> bool:
    pace = replica.at(rate_per_s)
    return pace is not None and pace.meets(objectives)


def _fleet(replica: Replica, gpus_per_target: int, rate_per_s: float, num_targets: int, idle: Pace) -> Fleet:
    pace = replica.at(rate_per_s / num_targets)
    assert pace is not None, "a rate that was found to be carried"
    rows = math.ceil(pace.steady.rows)
    num_drafts = pace.drafting.pool_replicas(num_targets, rows, pace.steady.decode.total_s)
    shortfalls = tuple(_shortfall(replica, pace, lacking) for lacking in _LESS_CAPACITY)
    return Fleet(
        rate_per_s, num_targets, num_drafts, gpus_per_target, pace, idle, shortfalls, replica.work.output_tokens
    )


def _shortfall(replica: Replica, pace: Pace, lacking: float) -> Shortfall:
    slower = replica.slower(1 / (1 - lacking)).at(pace.rate_per_s)
    if slower is None:
        return Shortfall(lacking, pace.utilisation / (1 - lacking), None)
    return Shortfall(lacking, slower.utilisation, slower.ttft.total_s)
