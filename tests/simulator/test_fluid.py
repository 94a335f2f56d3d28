"""Fleets as flows beside fleets by counts, as far apart as docs/simulation.md says."""

from dataclasses import replace

import numpy as np
import pytest

from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.shapes import find_model
from llama4coder.simulator.coarse import CoarseSimulation
from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.fluid import FluidFleet, FluidOutcome, FluidSimulation
from llama4coder.simulator.fluid_demand import FluidDemand
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


def flows(served: ServedReplica, num_replicas: int, workload: CoderWorkload) -> FluidOutcome:
    return FluidSimulation(FluidFleet(served, num_replicas, workload, Objectives(), WARMUP_S)).run()


def assert_near_counts(num_replicas: int, rate_of_each: float, duration_s: float) -> None:
    workload = CoderWorkload(rate_of_each * num_replicas, duration_s, num_repositories=20 * num_replicas)
    served = pair()
    simulation = CoarseSimulation(replace(scenario(served, num_replicas), warmup_s=WARMUP_S), workload.arrivals())
    assert simulation.run()
    requests = list(simulation.measures.counted())
    outcome = flows(served, num_replicas, workload)
    first_s = [one.first_s for one in requests if one.first_s is not None]
    between_s = sum(one.total_s - one.first_s for one in requests if one.first_s is not None)
    num_output = sum(one.num_output for one in requests)
    hit_rate = sum(one.num_cached for one in requests) / sum(one.num_prompt for one in requests)
    counted_s = duration_s - WARMUP_S
    assert outcome.itl_mean_s == pytest.approx(between_s / (num_output - len(requests)), rel=0.1)
    assert outcome.ttft_mean_s == pytest.approx(sum(first_s) / len(first_s), rel=0.35)
    assert outcome.served_per_s == pytest.approx(len(requests) / counted_s, rel=0.1)
    assert outcome.output_tokens_per_s == pytest.approx(num_output / counted_s, rel=0.15)
    assert outcome.hit_rate == pytest.approx(hit_rate, abs=0.08)


def test_near_the_counts() -> None:
    assert_near_counts(32, 1.65, 60.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rate_of_each", [0.82, 1.65, 2.2])
def test_near_the_counts_of_a_fleet(rate_of_each: float) -> None:
    assert_near_counts(64, rate_of_each, 90.0)


def test_beyond_the_edge_queues_grow_and_patience_ends() -> None:
    outcome = flows(pair(max_queued=8), 64, CoderWorkload(300.0, 90.0, num_repositories=1280))
    assert outcome.served_per_s < 250
    assert outcome.waiting == pytest.approx(8 * 64)
    assert outcome.refused_per_s > 0
    assert outcome.good < 0.2


def test_without_prefix_caching_all_is_computed() -> None:
    outcome = flows(pair(caching=False), 64, CoderWorkload(30.0, 90.0, num_repositories=1280))
    assert outcome.hit_rate == 0


def test_a_working_set_fills_a_cache() -> None:
    """What is as old as a cache holds, is added in that time."""
    demand = FluidDemand.of(CoderWorkload(10.0, 60.0))
    assert demand.age_held_s(2.0, 1e6) > 2 * demand.age_held_s(8.0, 1e6)
    young, old = (float(np.mean(demand.new_tokens(age_s, 0.0, 4))) for age_s in (1.0, 1000.0))
    assert young > 2 * old
    assert demand.age_held_s(2.0, 2.0 * (old + np.mean(demand.num_output)) * 1e5) == pytest.approx(1e5, rel=0.1)
