"""Who guesses in a simulation: n-grams, a draft model beside each target, or a pool of draft replicas."""

from llama4coder.cli.simulate_options import Given, chances
from llama4coder.cli.simulate_scaling import starting_of, wanted_scaling
from llama4coder.config import DeploymentConfig, DraftConfig, PoolConfig
from llama4coder.errors import ConfigError
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.sizing import weight_bytes
from llama4coder.kv.step_sizing import ServedForm
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.roofline import Roofline
from llama4coder.planner.shapes import find_model
from llama4coder.resolve_scaling import resolve_scaling
from llama4coder.scaling.build import draft_policy, pool_rest_s
from llama4coder.shape import ModelShape
from llama4coder.simulator.guessing import Acceptance, DraftTimes, Guesser
from llama4coder.simulator.pool import PoolPlan
from llama4coder.simulator.simulation import Guesses
from llama4coder.spec.types import DraftSource

_POOL_DELAY_S = 0.0005  # of messages to a draft replica and back
_DRAFT = DraftConfig()


def guesses_of(given: Given, gpu: GpuKind) -> Guesses | None:
    """What `--guess` and its companions ask for; draft models are in bfloat16, each on one GPU of the same kind.

    Raises:
        ConfigError: bounds of the pool that contradict each other, or that nothing has.
    """
    _check_bounds(given)
    acceptance = Acceptance(chances(given.accept), given.hit)
    if given.guess == "none":
        return None
    if given.guess == "ngram":
        return Guesses(acceptance, Guesser(DraftSource.NGRAM))
    shape = find_model(given.draft).shape
    if given.guess == "local":
        return Guesses(acceptance, Guesser(DraftSource.LOCAL, _times(given, gpu, shape, 1)))
    return Guesses(acceptance, _pool(given, gpu, shape))


def _check_bounds(given: Given) -> None:
    most = given.max_draft_replicas
    if most is not None and given.guess != "pool":
        raise ConfigError("--max-draft-replicas is of no use without a pool: give --guess pool, too, or leave it out")
    if most is not None and most < given.draft_replicas:
        raise ConfigError(f"--max-draft-replicas {most} is less than --draft-replicas {given.draft_replicas}")
    if most is None and given.guess == "pool" and not given.draft_replicas:
        raise ConfigError("--draft-replicas 0 needs --max-draft-replicas: without it there would never be any")


def _pool(given: Given, gpu: GpuKind, shape: ModelShape) -> PoolPlan:
    bounds = PoolConfig(
        min_replicas=given.draft_replicas, max_replicas=given.max_draft_replicas or given.draft_replicas
    )
    scaling = resolve_scaling(DeploymentConfig(scaling=wanted_scaling(given)))
    return PoolPlan(
        times=_times(given, gpu, shape, _DRAFT.max_forks),
        policy=draft_policy(scaling, bounds),
        rest_s=pool_rest_s(scaling),
        starting=starting_of(given),
        weight_bytes=weight_bytes(RankPlan.alone(shape), "bfloat16"),
        delay_s=_POOL_DELAY_S,
    )


def _times(given: Given, gpu: GpuKind, shape: ModelShape, num_forks: int) -> DraftTimes:
    form = ServedForm("bfloat16", "none", "dense", "cuda")
    graphs = GraphSizes.up_to(given.max_sequences * num_forks)
    return DraftTimes(Roofline(gpu, shape, ParallelLayout(), form, graphs), num_forks, _DRAFT.window_tokens)
