"""The draft pool of a simulation: as many replicas as the product's own policy wants by what its targets say."""

from itertools import groupby

from cluster import draft, draft_scaling, speculation
from llama4coder.obs.scaling import ScaleReason
from llama4coder.scaling.draft_meter import DraftMeter
from llama4coder.scaling.drafts import DraftPolicy
from llama4coder.scaling.pool_meter import PoolMeter
from llama4coder.scaling.types import Bounds, Delays
from llama4coder.simulator.arrivals import Arrival, Contents
from llama4coder.simulator.fleet import FleetPlan
from llama4coder.simulator.guessing import Acceptance, DraftTimes
from llama4coder.simulator.mishaps import Starting
from llama4coder.simulator.pool import Pool, PoolPlan
from llama4coder.simulator.scaling import FixedScale
from llama4coder.simulator.served import ReplicaChoices
from llama4coder.simulator.simulation import Guesses, Scenario, Simulation
from tests.support.simulated import FixedTimes, alike, replica, served_whole

CHOICES = ReplicaChoices(
    context_length=4096, num_blocks=1024, max_sequences=16, max_queued_requests=1000, method="pool", max_draft_tokens=4
)
CHEAP, DEAR = FixedTimes(0.02, 0.0001), FixedTimes(0.0, 0.005)  # what guesses cost a target to check
START_S, UP_S, DOWN_S = 2.0, 1.0, 8.0


def plan(least: int, most: int, draft_token_s: float = 0.002) -> PoolPlan:
    """Each sequence more makes a guess take so much longer."""
    return PoolPlan(
        times=DraftTimes(FixedTimes(0.001, draft_token_s)),
        policy=DraftPolicy(Bounds(least, most), Delays(UP_S, DOWN_S)),
        rest_s=60.0,
        starting=Starting(process_s=START_S, storage_bytes_per_s=1e12),
    )


def simulated(
    pool: PoolPlan, arrivals: list[Arrival], times: FixedTimes = CHEAP, chance: float = 0.8
) -> tuple[Simulation, Pool]:
    scenario = Scenario(
        replica(times, CHOICES), FleetPlan(FixedScale(1)), guesses=Guesses(Acceptance((chance,)), pool), duration_s=60.0
    )
    simulation = Simulation(scenario, arrivals)
    assert simulation.pool is not None
    served_whole(simulation)
    return simulation, simulation.pool


def day() -> list[Arrival]:
    """One now and then, many at once from 30 s to 60 s, again one now and then, and a last one long after."""
    contents = Contents()
    few, many = [5.0, 9.0, 13.0, 17.0, 21.0, 68.0, 72.0, 76.0, 80.0], [30.0 + number / 2 for number in range(60)]
    return [
        Arrival(number, time_s, (contents.new(50),), contents.new(250 if time_s in many else 40))
        for number, time_s in enumerate(sorted([*few, *many, 140.0]))
    ]


def numbers(simulation: Simulation) -> list[int]:
    """Of replicas that draft, one after the other."""
    return [number for number, _ in groupby(moment.num_drafting for moment in simulation.timeline.moments)]


def mean_s(simulation: Simulation) -> float:
    requests = simulation.measures.requests
    return sum(one.total_s for one in requests) / len(requests)


def test_it_follows_a_day_of_load_and_is_empty_at_night() -> None:
    simulation, _ = simulated(plan(0, 4), day())
    seen = numbers(simulation)
    most = seen.index(max(seen))
    assert (seen[0], seen[-1]) == (0, 0)
    assert max(seen) > 1
    assert seen[: most + 1] == sorted(seen[: most + 1])
    assert seen[most:] == sorted(seen[most:], reverse=True)
    whole_s = simulation.now_s
    assert 0.1 * whole_s < simulation.measures.draft_gpu_s < 0.6 * 4 * whole_s


def test_under_load_at_which_guesses_do_not_pay_it_goes_and_is_left_alone() -> None:
    simulation, pool = simulated(plan(0, 4), alike(8, 0.01, 50, 1200), DEAR, chance=0.3)
    assert numbers(simulation) == [0, 1, 0]
    assert vars(pool)["_state"].pace.reason is ScaleReason.NO_GAIN
    left = next(one for one in reversed(simulation.timeline.moments) if one.num_drafting)
    assert simulation.now_s > left.time_s + 3.0, "under the same load"


def test_late_guesses_call_for_replicas_which_are_in_time() -> None:
    load = alike(6, 0.1, 50, 2000)
    slow = 0.006  # seconds of a guess for each sequence: too late for one replica
    alone, one = simulated(plan(1, 1, slow), load)
    scaled, _ = simulated(plan(1, 6, slow), load)
    assert numbers(alone) == [1]
    assert max(numbers(scaled)) > 3
    assert mean_s(scaled) < 0.9 * mean_s(alone)
    assert one.num_sessions == 0


def test_a_replica_that_starts_is_late_and_paid_for() -> None:
    simulation, _ = simulated(plan(0, 1), alike(1, 1.0, 50, 400), chance=0.0)
    first = next(one for one in simulation.timeline.moments if one.num_drafting)
    assert START_S + UP_S <= first.time_s < START_S + UP_S + 3.0
    assert simulation.measures.draft_gpu_s >= START_S


def test_what_decides_is_what_serves() -> None:
    """The classes in a simulation are those that the cluster runs."""
    simulation, pool = simulated(plan(0, 4), alike(1, 1.0, 8, 2))
    assert type(pool.plan.policy) is DraftPolicy is vars(draft_scaling)["DraftPolicy"]
    assert type(vars(pool)["_meter"]) is DraftMeter is vars(draft)["DraftMeter"]
    speculator = vars(next(iter(simulation.fleet.replicas.values())).engine)["_speculation"]
    assert type(vars(speculator)["_observer"]) is PoolMeter is vars(speculation)["PoolMeter"]
