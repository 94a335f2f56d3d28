"""Fleets as flows beside fleets by counts, as far apart as docs/simulation.md says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.shapes import find_model
from llama4coder.simulator.coarse import CoarseSimulation
from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.daytime import Daytime
from llama4coder.simulator.fluid import FluidFleet, FluidOutcome, FluidSimulation
from llama4coder.simulator.fluid_demand import FluidDemand, Standing
from llama4coder.simulator.fluid_queue import FluidQueue
from llama4coder.simulator.measures import End, Ended
from llama4coder.simulator.outcome import Objectives
from llama4coder.simulator.served import ReplicaChoices, ServedReplica, serve
from tests.support.simulated import scenario

WARMUP_S = 30.0


def pair(*, max_queued: int = 256, caching: bool = True) -> ServedReplica:
    chosen = ReplicaChoices(
        ranks=2,
        quant="fp8",
        kv_format="fp8",
        max_step_tokens=2048,
        max_queued_requests=max_queued,
        prefix_caching=caching,
    )
    return serve(find_model("llama-3.1-70b"), find_gpu("H200"), chosen)


def flows(
    served: ServedReplica, num_replicas: int, workload: CoderWorkload, warmup_s: float = WARMUP_S
) -> FluidOutcome:
    return FluidSimulation(FluidFleet(served, num_replicas, workload, Objectives(), warmup_s)).run()


@dataclass(frozen=True, slots=True)
class Pair:
    """The same fleet by counts and as flows."""

    requests: Sequence[Ended]  # by counts, since the warm-up
    outcome: FluidOutcome

    @property
    def first_s(self) -> float:
        return float(np.mean([one.first_s for one in self.requests if one.first_s is not None]))

    def ended(self, *ends: End) -> float:
        """Share of requests by counts."""
        return sum(one.end in ends for one in self.requests) / len(self.requests)


def both(served: ServedReplica, num_replicas: int, workload: CoderWorkload, warmup_s: float = WARMUP_S) -> Pair:
    subject = replace(scenario(served, num_replicas), warmup_s=warmup_s)
    simulation = CoarseSimulation(subject, workload.arrivals())
    assert simulation.run()
    return Pair(list(simulation.measures.counted()), flows(served, num_replicas, workload, warmup_s))


def assert_near_counts(num_replicas: int, rate_of_each: float, duration_s: float) -> None:
    workload = CoderWorkload(rate_of_each * num_replicas, duration_s, num_repositories=20 * num_replicas)
    pair_of = both(pair(), num_replicas, workload)
    requests, outcome = pair_of.requests, pair_of.outcome
    between_s = sum(one.total_s - one.first_s for one in requests if one.first_s is not None)
    num_output = sum(one.num_output for one in requests)
    hit_rate = sum(one.num_cached for one in requests) / sum(one.num_prompt for one in requests)
    counted_s = duration_s - WARMUP_S
    assert outcome.itl_mean_s == pytest.approx(between_s / (num_output - len(requests)), rel=0.15)
    assert outcome.ttft_mean_s == pytest.approx(pair_of.first_s, rel=0.3)
    assert outcome.served_per_s == pytest.approx(len(requests) / counted_s, rel=0.1)
    assert outcome.output_tokens_per_s == pytest.approx(num_output / counted_s, rel=0.25)  # long ones come later
    assert outcome.hit_rate == pytest.approx(hit_rate, abs=0.08)


def assert_near_counts_beyond(num_replicas: int, max_queued: int, duration_s: float, warmup_s: float) -> None:
    """Four requests a second of each, where less than three are carried."""
    workload = CoderWorkload(4.0 * num_replicas, duration_s, num_repositories=20 * num_replicas)
    pair_of = both(pair(max_queued=max_queued), num_replicas, workload, warmup_s)
    lost = pair_of.ended(End.REFUSED, End.EXPIRED)
    assert lost > 0.3
    assert pair_of.outcome.refused + pair_of.outcome.expired == pytest.approx(lost, abs=0.08)
    assert pair_of.outcome.ttft_mean_s == pytest.approx(pair_of.first_s, rel=0.4)


def test_near_the_counts() -> None:
    assert_near_counts(32, 1.65, 60.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rate_of_each", [0.82, 1.65, 2.2])
def test_near_the_counts_of_a_fleet(rate_of_each: float) -> None:
    assert_near_counts(64, rate_of_each, 90.0)


def test_beyond_the_edge() -> None:
    assert_near_counts_beyond(8, 32, 120.0, 60.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_beyond_the_edge_of_a_fleet() -> None:
    assert_near_counts_beyond(16, 256, 480.0, 240.0)


def test_a_fleet_falls_over_its_edge_where_counts_do() -> None:
    """A cold one recovers below it."""
    for rate_of_each, most_waiting, least_waiting in ((2.75, 1.0, 0.0), (3.4, 256.0, 30.0)):
        outcome = flows(pair(), 32, CoderWorkload(32 * rate_of_each, 120.0, num_repositories=640))
        assert 32 * least_waiting <= outcome.waiting <= 32 * most_waiting


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_day_leaves_a_backlog_that_is_worked_off() -> None:
    """Its noon is more than is carried, its evening less; flows fall a little early."""
    day = CoderWorkload(26.0, 800.0, num_repositories=80, daytime=Daytime((0.3, 1.0, 1.0, 0.3, 0.1)))
    pair_of = both(pair(max_queued=64), 4, day, 0.0)
    outcome = pair_of.outcome
    assert outcome.refused == pytest.approx(pair_of.ended(End.REFUSED), abs=0.15)
    those = [one for one in pair_of.requests if 400 <= one.arrival_s < 600]
    lost = sum(one.end is not End.DONE for one in those) / len(those)
    assert outcome.parts[2].refused + outcome.parts[2].expired == pytest.approx(lost, abs=0.1)
    assert outcome.parts[1].waiting > 4 * 30
    assert outcome.waiting < 1


def test_patience_ends() -> None:
    queue = FluidQueue(timeout_s=10.0)
    passed = [queue.advance(second + 0.5, 1.0, 5.0, 2.0, math.inf) for second in range(60)]
    assert passed[-1].served == 2
    assert passed[-1].expired == pytest.approx(3)
    assert passed[-1].wait_s == pytest.approx(9, abs=1)
    assert queue.num_waiting == pytest.approx(5 * 10, abs=5)


def test_a_full_queue_refuses() -> None:
    queue = FluidQueue(timeout_s=100.0)
    passed = [queue.advance(second + 0.5, 1.0, 5.0, 2.0, 20.0) for second in range(60)]
    assert (passed[-1].refused, passed[-1].expired) == (3, 0)
    assert passed[-1].wait_s == pytest.approx(10, abs=1)
    assert [queue.advance(60.5 + second, 1.0, 0.0, 2.0, 20.0).served for second in range(11)] == [2] * 10 + [0]


def test_developers_come_and_go() -> None:
    workload = CoderWorkload(6.0, 400.0, daytime=Daytime((0.0, 0.0, 1.0, 1.0, 0.0)))
    times = [arrival.arrival_s for arrival in workload.arrivals()]
    assert len(times) == pytest.approx(workload.num_expected, rel=0.3)
    assert sum(time_s < 100 for time_s in times) == 0
    assert sum(200 <= time_s < 300 for time_s in times) == pytest.approx(6 * 100, rel=0.3)


def test_without_prefix_caching_all_is_computed() -> None:
    outcome = flows(pair(caching=False), 64, CoderWorkload(30.0, 90.0, num_repositories=1280))
    assert outcome.hit_rate == 0


def test_a_working_set_fills_a_cache() -> None:
    """What is as old as a cache holds, is added in that time."""
    demand = FluidDemand.of(CoderWorkload(8.0, 60.0))
    assert demand.age_held_s(0.25, 1.0, 1e6, 1) > 2 * demand.age_held_s(1.0, 1.0, 1e6, 1)
    young, old = (float(np.mean(demand.new_tokens(age_s, 1.0, Standing(), 4).of_each)) for age_s in (1.0, 1000.0))
    assert young > 2 * old


def test_a_backlog_loses_prefixes() -> None:
    demand = FluidDemand.of(CoderWorkload(8.0, 60.0))
    free, full = (
        demand.new_tokens(1000.0, 1.0, Standing(backlog=backlog, sequences=10.0), 64) for backlog in (0.0, 1e6)
    )
    assert full.bound < 0.01 < 0.5 < free.bound
    assert np.mean(full.of_each) > 1.5 * np.mean(free.of_each)
