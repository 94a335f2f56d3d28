"""The simulator against what must hold whatever is simulated: nothing lost, nothing left over, nothing by chance."""

from itertools import groupby
from random import Random

import pytest

from cluster import backend, routing
from llama4coder.config import DeploymentConfig, RoutingPolicy
from llama4coder.engine.engine import Engine
from llama4coder.engine.scheduler import Scheduler
from llama4coder.kv.block_pool import BlockPool
from llama4coder.resolve_scaling import resolve_scaling
from llama4coder.router.continuation import Continuation
from llama4coder.router.router import Router
from llama4coder.scaling.build import target_policy
from llama4coder.scaling.forecast import parse_forecast
from llama4coder.scaling.meter import LoadMeter
from llama4coder.scaling.targets import Objectives, TargetLoad, TargetPolicy
from llama4coder.scaling.types import Bounds, Delays
from llama4coder.simulator import traffic
from llama4coder.simulator.arrivals import Arrival, Contents
from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.fleet import FleetPlan
from llama4coder.simulator.guessing import Acceptance, Guesser
from llama4coder.simulator.mishaps import Failures, RollingRestart, Starting
from llama4coder.simulator.outcome import Outcome
from llama4coder.simulator.scaling import FixedScale, OngoingRequests, ProductScale
from llama4coder.simulator.served import ReplicaChoices
from llama4coder.simulator.simulation import Guesses, Scenario, Simulation
from llama4coder.spec.controller import LengthController
from llama4coder.spec.speculator import Speculator
from llama4coder.spec.types import DraftSource
from llama4coder.types import GenerateRequest
from tests.support.simulated import FixedTimes, about, alike, replica, scenario, served_whole

TIMES = FixedTimes(0.01, 0.0001)
QUICK = Starting(process_s=2.0, storage_bytes_per_s=1e12)


def about_repositories(num_repositories: int, num: int, gap_s: float) -> list[Arrival]:
    contents, chance = Contents(), Random(3)
    repositories = [contents.new(1500) for _ in range(num_repositories)]
    chance.shuffle(repositories)
    order = [chance.choice(repositories) for _ in range(num)]
    return [about([order[number]], number, number * gap_s, contents) for number in range(num)]


def test_every_request_ends_once_and_no_block_is_left() -> None:
    arrivals = list(CoderWorkload(4.0, 8.0, longest=3500, num_repositories=5).arrivals())
    simulation = Simulation(scenario(replica(TIMES), 3), arrivals)
    outcome = served_whole(simulation)
    assert outcome.ends == {"done": len(arrivals)}
    assert simulation.traffic.num_tokens == sum(arrival.output.num_tokens for arrival in arrivals)
    prompts = {arrival.arrival_s: arrival.num_prompt_tokens for arrival in arrivals}
    assert {one.arrival_s: one.num_prompt for one in simulation.measures.requests} == prompts


def test_equal_seeds_have_equal_outcomes() -> None:
    def run(seed: int) -> Outcome:
        arrivals = CoderWorkload(4.0, 3.0, seed, longest=3500).arrivals()
        fleet = FleetPlan(FixedScale(2), QUICK, Failures(gpu_mtbf_s=5.0, detection_s=1.0))
        return served_whole(Simulation(Scenario(replica(TIMES), fleet, seed=seed), arrivals))

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_blocks_that_do_not_suffice_cost_preemptions_and_nothing_else() -> None:
    choices = ReplicaChoices(context_length=2048, num_blocks=128, max_sequences=16, queue_timeout_s=1e4)
    arrivals = alike(15, 0.05, 100, 700)
    outcome = served_whole(Simulation(scenario(replica(TIMES, choices), 1), arrivals))
    assert outcome.preemptions > 0
    assert outcome.ends == {"done": 15}


def test_full_queues_refuse_and_patience_ends() -> None:
    choices = ReplicaChoices(
        context_length=2048, num_blocks=256, max_sequences=1, max_queued_requests=4, queue_timeout_s=3.0
    )
    arrivals = [*alike(20, 0.01, 64, 100)]
    outcome = served_whole(Simulation(scenario(replica(TIMES, choices), 1), arrivals))
    assert outcome.ends["refused"] == 15
    assert outcome.ends["expired"] > 0
    assert sum(outcome.ends.values()) == 20


def test_what_never_fits_is_told_at_once() -> None:
    contents = Contents()
    arrival = Arrival(0, 0.0, (contents.new(5000),), contents.new(10))
    assert served_whole(Simulation(scenario(replica(TIMES), 1), [arrival])).ends == {"too long": 1}


def test_one_at_a_time_waits_as_an_m_d_1_queue_does() -> None:
    """Pollaczek and Khinchine: with constant service s and load rho the mean wait is s * rho / (2 * (1 - rho)).

    The engine plans a step ahead, so that a stop token comes when one more is under way: that is part of the service.
    """
    chance, contents, time_s = Random(5), Contents(), 0.0
    step_s, num_output, rho, arrivals = 0.04, 5, 0.6, []
    service_s = step_s * (num_output + 1)
    for number in range(4000):
        time_s += chance.expovariate(rho / service_s)
        arrivals.append(Arrival(number, time_s, (contents.new(8),), contents.new(num_output)))
    choices = ReplicaChoices(
        context_length=512, num_blocks=64, max_sequences=1, max_queued_requests=10_000, queue_timeout_s=1e6
    )
    simulation = Simulation(scenario(replica(FixedTimes(step_s), choices), 1, "round_robin"), arrivals)
    served_whole(simulation)
    waits = [one.total_s - step_s * num_output for one in simulation.measures.requests]
    assert sum(waits) / len(waits) == pytest.approx(service_s * rho / (2 * (1 - rho)), rel=0.1)


def test_more_load_is_never_served_sooner_and_more_replicas_never_later() -> None:
    def mean_s(num_replicas: int, gap_s: float) -> float:
        simulation = Simulation(scenario(replica(TIMES), num_replicas), alike(60, gap_s, 400, 30))
        served_whole(simulation)
        return sum(one.total_s for one in simulation.measures.requests) / 60

    assert mean_s(1, 0.05) > mean_s(1, 0.1) > mean_s(1, 0.5)
    assert mean_s(1, 0.05) > mean_s(2, 0.05) >= mean_s(4, 0.05)


def test_policies_stand_to_each_other_as_they_were_measured() -> None:
    """As `tests/bench/routing.py` found: more hits and earlier first tokens by `kv_aware` where prompts are shared."""
    choices = ReplicaChoices(context_length=2048, num_blocks=600, max_sequences=16)
    arrivals = about_repositories(8, 160, 0.05)

    def run(policy: RoutingPolicy) -> Outcome:
        return served_whole(Simulation(scenario(replica(FixedTimes(0.005, 0.0002), choices), 4, policy), arrivals))

    aware, by_load, in_turn = run("kv_aware"), run("least_load"), run("round_robin")
    assert aware.hit_rate is not None and by_load.hit_rate is not None and in_turn.hit_rate is not None
    assert aware.hit_rate > max(by_load.hit_rate, in_turn.hit_rate) + 0.15
    assert aware.ttft.p50_s is not None and in_turn.ttft.p50_s is not None
    assert aware.ttft.p50_s < 0.8 * in_turn.ttft.p50_s


def test_failures_lose_no_request_and_no_token() -> None:
    fleet = FleetPlan(FixedScale(3), QUICK, Failures(gpu_mtbf_s=4.0, detection_s=0.5))
    arrivals = alike(80, 0.1, 200, 60)
    simulation = Simulation(scenario(replica(TIMES), 3, fleet=fleet), arrivals)
    outcome = served_whole(simulation)
    assert outcome.failures > 2
    assert outcome.recoveries > 2
    assert outcome.ends == {"done": 80}
    assert all(one.num_output == 60 for one in simulation.measures.requests)


def test_a_lone_replica_that_fails_is_waited_for() -> None:
    fleet = FleetPlan(FixedScale(1), QUICK, Failures(gpu_mtbf_s=6.0, detection_s=0.5))
    outcome = served_whole(Simulation(scenario(replica(TIMES), 1, fleet=fleet), alike(30, 0.5, 100, 20)))
    assert outcome.failures > 0
    assert outcome.ends == {"done": 30}


def test_patience_ends_as_the_servers_does() -> None:
    """All replicas are lost at once, and none is back within `server.recovery_timeout_s`."""
    slow = Starting(process_s=500.0, storage_bytes_per_s=1e12)
    fleet = FleetPlan(FixedScale(1), slow, Failures(gpu_mtbf_s=2.0, detection_s=0.5))
    outcome = served_whole(Simulation(scenario(replica(TIMES), 1, fleet=fleet), alike(3, 1.0, 100, 4000)))
    assert outcome.ends == {"abandoned": 3}


def test_a_rolling_restart_disturbs_nobody() -> None:
    fleet = FleetPlan(FixedScale(3), QUICK, restart=RollingRestart(2.0))
    simulation = Simulation(scenario(replica(TIMES), 3, fleet=fleet), alike(200, 0.1, 100, 30))
    outcome = served_whole(simulation)
    assert outcome.restarts == 3
    assert outcome.recoveries == 0
    assert outcome.ends == {"done": 200}
    assert len(simulation.fleet.replicas) == 3


def test_replicas_come_with_the_load_and_go_with_it() -> None:
    fleet = FleetPlan(OngoingRequests(target=8, min_replicas=1, max_replicas=4), QUICK)
    choices = ReplicaChoices(context_length=4096, num_blocks=1024, max_sequences=16, max_queued_requests=1000)
    burst = alike(200, 0.02, 100, 300)
    last = Arrival(len(burst), 120.0, (Contents().new(10),), Contents().new(5))
    simulation = Simulation(scenario(replica(TIMES, choices), 1, fleet=fleet), [*burst, last])
    outcome = served_whole(simulation)
    assert max(moment.num_live for moment in simulation.timeline.moments) == 4
    assert simulation.timeline.moments[-1].num_live == 1
    assert outcome.ends == {"done": 201}


def test_the_products_policy_follows_a_burst_and_goes_back_without_a_second_thought() -> None:
    objectives = Objectives(kv_share=0.75, prefill_share=0.5, backlog_s=2.0, ttft_s=5.0, num_streams=8)
    scale = ProductScale(TargetPolicy(objectives, Bounds(1, 4), Delays(3.0, 20.0)))
    fleet = FleetPlan(scale, QUICK)
    choices = ReplicaChoices(context_length=4096, num_blocks=1024, max_sequences=16, max_queued_requests=1000)
    last = Arrival(200, 240.0, (Contents().new(10),), Contents().new(5))
    simulation = Simulation(scenario(replica(TIMES, choices), 1, fleet=fleet), [*alike(200, 0.02, 100, 200), last])
    assert served_whole(simulation).ends == {"done": 201}
    numbers = [number for number, _ in groupby(moment.num_live for moment in simulation.timeline.moments)]
    assert (numbers[0], numbers[1], numbers[-1]) == (1, 4, 1)
    assert numbers[1:] == sorted(numbers[1:], reverse=True)


def test_a_forecast_has_replicas_there_before_their_time() -> None:
    objectives = Objectives(kv_share=0.75, prefill_share=0.5, backlog_s=2.0, ttft_s=5.0, num_streams=8)
    policy = TargetPolicy(objectives, Bounds(1, 4), Delays(3.0, 20.0))
    forecast = parse_forecast(["from,until,replicas", "Mon 00:01,Mon 00:02,3"], "UTC", most=4)
    fleet = FleetPlan(ProductScale(policy, forecast, ahead_s=20.0), Starting(provision_s=5.0, process_s=2.0))
    simulation = Simulation(scenario(replica(TIMES), 1, fleet=fleet), alike(80, 2.0, 50, 10))
    served_whole(simulation)
    live = {round(moment.time_s): moment.num_live for moment in simulation.timeline.moments}
    assert [live[second] for second in (30, 59, 119, 157)] == [1, 3, 3, 1]


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_guesses_are_right_as_often_as_they_are_to_be(chance: float) -> None:
    guesses = Guesses(Acceptance((chance,)), Guesser(DraftSource.NGRAM))
    arrivals = alike(20, 0.1, 100, 200)
    chosen = ReplicaChoices(context_length=4096, num_blocks=1024, max_sequences=16, method="ngram", max_draft_tokens=4)
    served = replica(FixedTimes(0.01, 0.00001), chosen)
    fleet = FleetPlan(FixedScale(1))
    outcome = served_whole(Simulation(Scenario(served, fleet, guesses=guesses), arrivals))
    plain = served_whole(Simulation(Scenario(served, fleet), arrivals))
    assert outcome.ends == plain.ends == {"done": 20}
    assert outcome.e2e.p50_s is not None and plain.e2e.p50_s is not None
    speedup = plain.e2e.p50_s / outcome.e2e.p50_s
    assert speedup == pytest.approx({0.0: 1.0, 0.5: 1.85, 1.0: 4.7}[chance], rel=0.15)


def test_what_decides_is_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes in a simulation are those that the server runs."""
    continuations = []

    def begun(request: GenerateRequest, recovery_timeout_s: float) -> Continuation:
        continuations.append(Continuation(request, recovery_timeout_s))
        return continuations[-1]

    monkeypatch.setattr(traffic, "Continuation", begun)
    guesses = Guesses(Acceptance(), Guesser(DraftSource.NGRAM))
    policy = target_policy(resolve_scaling(DeploymentConfig()), 1)
    plan = FleetPlan(ProductScale(policy))
    simulation = Simulation(Scenario(replica(TIMES), plan, guesses=guesses), alike(1, 1.0, 8, 2))
    simulation.run()
    one = next(iter(simulation.fleet.replicas.values()))
    engine = one.engine
    assert type(engine.observer) is LoadMeter
    assert type(one.scaling_load()) is TargetLoad
    assert type(policy) is TargetPolicy, "that is what `cluster.target_scaling` asks, too"
    parts = vars(engine)
    assert type(engine) is Engine
    assert type(engine.scheduler) is Scheduler
    assert type(engine.scheduler.pool) is BlockPool
    assert type(parts["_forecast"]).__module__ == "llama4coder.engine.queue_forecast"
    assert type(parts["_speculation"]) is Speculator
    assert type(vars(parts["_speculation"])["_controller"]) is LengthController
    routers = vars(simulation)["_routers"]
    assert [type(router) for router in routers] == [Router]
    assert type(vars(routers[0])["_policy"]).__module__ == "llama4coder.router.kv_aware"
    assert len(continuations) == 1
    assert vars(backend)["Continuation"] is Continuation
    assert vars(routing)["Router"] is Router
