"""The simulation by counts beside the one by steps, and its parts beside what they stand for."""

from random import Random

import numpy as np
import pytest

from llama4coder.config import RoutingPolicy
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.shapes import find_model
from llama4coder.router.build import build_policy
from llama4coder.router.types import Candidate, Query
from llama4coder.simulator.arrivals import Arrival, Contents, Part
from llama4coder.simulator.coarse import CoarseSimulation
from llama4coder.simulator.coarse_cache import CoarseCache, Holders
from llama4coder.simulator.coarse_router import CoarseRouter, FleetArrays
from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.outcome import Objectives, Outcome, outcome_of
from llama4coder.simulator.served import ReplicaChoices, serve
from llama4coder.simulator.simulation import Scenario, Simulation
from tests.support.simulated import FixedTimes, alike, replica, scenario, served_whole

POLICIES: tuple[RoutingPolicy, ...] = ("kv_aware", "least_load", "round_robin")


def coarse(subject: Scenario, arrivals: list[Arrival]) -> Outcome:
    simulation = CoarseSimulation(subject, arrivals)
    assert simulation.run()
    return outcome_of(simulation.measures, Objectives(), simulation.now_s, 1.0, is_whole=True)


def assert_near(by_counts: Outcome, by_steps: Outcome) -> None:
    """What docs/simulation.md says of how far apart they are."""
    assert by_counts.ends == by_steps.ends
    assert by_counts.hit_rate == pytest.approx(by_steps.hit_rate, abs=0.06)
    assert by_counts.busy == pytest.approx(by_steps.busy, abs=0.12)
    assert by_counts.itl.p50_s == pytest.approx(by_steps.itl.p50_s, rel=0.05)
    assert by_counts.e2e.p50_s == pytest.approx(by_steps.e2e.p50_s, rel=0.2)
    assert by_counts.ttft.p50_s == pytest.approx(by_steps.ttft.p50_s, rel=0.25)


def compare(num_replicas: int, rate: float, duration_s: float) -> None:
    chosen = ReplicaChoices(ranks=2, quant="fp8", kv_format="fp8", max_step_tokens=2048)
    subject = scenario(serve(find_model("llama-3.1-70b"), find_gpu("H200"), chosen), num_replicas)
    arrivals = list(CoderWorkload(rate, duration_s, seed=num_replicas, num_repositories=4 * num_replicas).arrivals())
    assert_near(coarse(subject, arrivals), served_whole(Simulation(subject, arrivals)))


def test_near_the_steps() -> None:
    served = replica(FixedTimes(0.01, 0.00002), ReplicaChoices(context_length=4096, num_blocks=2048, max_sequences=16))
    arrivals = list(CoderWorkload(12.0, 6.0, longest=3500, num_repositories=8).arrivals())
    subject = scenario(served, 4)
    assert_near(coarse(subject, arrivals), served_whole(Simulation(subject, arrivals)))


@pytest.mark.slow
@pytest.mark.parametrize("num_replicas", [8, 16, 32, 64])
def test_near_the_steps_of_a_fleet(num_replicas: int) -> None:
    compare(num_replicas, 1.5 * num_replicas, 15.0)


def test_alone_a_request_takes_its_steps() -> None:
    outcome = coarse(scenario(replica(FixedTimes(0.01)), 1), alike(5, 10.0, 100, 50))
    assert outcome.ttft.p50_s == pytest.approx(0.01)
    assert outcome.e2e.p50_s == pytest.approx(0.5)


def test_queues_refuse_and_expire() -> None:
    choices = ReplicaChoices(
        context_length=2048, num_blocks=256, max_sequences=1, max_queued_requests=4, queue_timeout_s=3.0
    )
    outcome = coarse(scenario(replica(FixedTimes(0.01), choices), 1), alike(20, 0.01, 64, 100))
    assert outcome.ends["refused"] == 15
    assert outcome.ends["expired"] > 0
    assert sum(outcome.ends.values()) == 20


@pytest.mark.parametrize("policy", POLICIES)
def test_arrays_choose_as_the_policies_do(policy: RoutingPolicy) -> None:
    chance, num = Random(7), 12
    arrays = FleetArrays.of(num)
    router, real = CoarseRouter(policy, arrays), build_policy(policy)
    for _ in range(300):
        cached = np.array([16 * chance.randrange(20) for _ in range(num)])
        for values, most in (
            (arrays.num_sequences, 4),
            (arrays.num_prefill_tokens, 500),
            (arrays.num_running_tokens, 3),
        ):
            values[:] = [chance.randrange(most) for _ in range(num)]
        candidates = [
            Candidate(
                replica=f"{number:02d}",
                num_sequences=int(arrays.num_sequences[number]),
                num_prefill_tokens=int(arrays.num_prefill_tokens[number]),
                num_running_tokens=int(arrays.num_running_tokens[number]),
                num_cached_tokens=int(cached[number]),
                can_take=True,
                is_draining=False,
            )
            for number in range(num)
        ]
        expected = real.choose(Query(400), candidates).candidate.replica
        assert f"{router.choose(400, cached, np.ones(num, bool)):02d}" == expected


def test_holders_know_what_caches_have() -> None:
    chance, contents, num = Random(9), Contents(), 50
    holders = Holders(num)
    caches = [CoarseCache(number, holders) for number in range(num)]
    shared = contents.new(1000)
    prompts = [(shared, contents.new(chance.randrange(1, 400)), Part(7, 30)) for _ in range(20)]
    for _ in range(400):
        cache = chance.choice(caches)
        cache.use(chance.choice(prompts))
        cache.shrink(2500)
        prompt = chance.choice(prompts)
        assert holders.leading(prompt).tolist() == [each.leading(prompt) for each in caches]
