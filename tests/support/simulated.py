"""Small fleets for tests of the simulator: steps of a fixed time and some more for each token, no GPU in sight."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.config import RoutingPolicy
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.shapes import find_model
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepPart, StepTime, StepTimes
from llama4coder.simulator.arrivals import Arrival, Contents, Part
from llama4coder.simulator.fleet import FleetPlan
from llama4coder.simulator.measures import End
from llama4coder.simulator.outcome import Objectives, Outcome, outcome_of
from llama4coder.simulator.scaling import FixedScale
from llama4coder.simulator.served import ReplicaChoices, ServedReplica, serve
from llama4coder.simulator.simulation import Scenario, Simulation


@dataclass(frozen=True, slots=True)
class FixedTimes:
    """Implements `StepTimes`."""

    step_s: float = 0.01
    token_s: float = 0.0

    def step(self, load: StepLoad) -> StepTime:
        return StepTime({StepPart.WEIGHTS: self.step_s + self.token_s * load.num_tokens if load.num_tokens else 0.0})


def replica(times: StepTimes, choices: ReplicaChoices | None = None) -> ServedReplica:
    """Of the 1B model, with other step times."""
    chosen = choices or ReplicaChoices(context_length=4096, num_blocks=1024, max_sequences=16)
    served = serve(find_model("llama-3.2-1b"), find_gpu("H200"), chosen)
    return ServedReplica(served.config, times, served.weight_bytes, block_move_s=0.0, price_per_hour=1.0)


def scenario(
    served: ServedReplica, num_replicas: int, policy: RoutingPolicy = "kv_aware", fleet: FleetPlan | None = None
) -> Scenario:
    return Scenario(served, fleet or FleetPlan(FixedScale(num_replicas)), policy, seed=1)


def alike(num: int, gap_s: float, num_prompt: int, num_output: int) -> list[Arrival]:
    """Requests in equal distances that have nothing in common."""
    contents = Contents()
    return [
        Arrival(number, number * gap_s, (contents.new(num_prompt),), contents.new(num_output)) for number in range(num)
    ]


def about(repositories: Sequence[Part], number: int, time_s: float, contents: Contents) -> Arrival:
    """A short question about one of them."""
    prompt = (repositories[number % len(repositories)], contents.new(30))
    return Arrival(number, time_s, prompt, contents.new(12))


def served_whole(simulation: Simulation) -> Outcome:
    """Run to the end; every request has come to its own, and nothing is left over."""
    assert simulation.run()
    simulation.settle()
    outcome = outcome_of(simulation.measures, Objectives(), simulation.now_s, 1.0, is_whole=True)
    assert not simulation.traffic.num_out
    assert not simulation.traffic.outputs
    assert End.UNFINISHED.value not in outcome.ends
    return outcome
