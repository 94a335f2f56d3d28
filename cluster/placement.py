"""What each process asks of the cluster's scheduler."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.resolved import ResolvedConfig

# As good as nothing, so that a new ingress always has room beside an old one: it must not wait for the old one's, which
# waits for streams, nor take what a new target needs, for which those streams may wait. More than nothing, so that a
# node without CPUs gets none.
INGRESS_CPUS = 0.01
HUB_CPUS = 0.01
REPLICA_CPUS = 0.2  # schedules and waits; the work is the ranks'
RANK_CPUS = 0.5  # below one, so that a laptop can hold a few; CPU ranks share the cores by their thread counts

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement group of one target replica; its own process is in the first bundle."""

    bundles: tuple[Resources, ...]
    strategy: str  # Ray's name
    labels: Mapping[str, str]  # that the node of each bundle must have
    rank_bundles: tuple[int, ...]  # by rank, before ranks are numbered by where they are


def target_placement(config: ResolvedConfig) -> Placement:
    """A bundle per rank, or per node where the operator says how many ranks each node gets."""
    wanted, num_ranks = config.placement, config.engine.ranks
    if wanted.ranks_per_node is None:
        bundles = ({"CPU": REPLICA_CPUS}, *(_ranks(config, 1) for _ in range(num_ranks)))
        return Placement(bundles, wanted.strategy, wanted.node_labels, tuple(range(1, num_ranks + 1)))
    nodes = [_ranks(config, num_on_node) for num_on_node in wanted.ranks_per_node]
    nodes[0]["CPU"] += REPLICA_CPUS
    rank_bundles = (node for node, num_on_node in enumerate(wanted.ranks_per_node) for _ in range(num_on_node))
    return Placement(tuple(nodes), "STRICT_SPREAD", wanted.node_labels, tuple(rank_bundles))


def _ranks(config: ResolvedConfig, num_ranks: int) -> dict[str, float]:
    resources = {"CPU": RANK_CPUS * num_ranks}
    if config.engine.device == "cuda":
        resources["GPU"] = num_ranks
    return resources


def uses_pool(config: ResolvedConfig) -> bool:
    """Whether there is a draft pool."""
    return config.speculation.method == "pool"


def draft_resources(config: ResolvedConfig) -> Resources:
    """What one replica of the draft pool asks for."""
    pool = config.speculation.pool
    gpus = float(config.engine.device == "cuda") if pool.gpus_per_replica == "auto" else pool.gpus_per_replica
    return {"CPU": pool.cpus_per_replica} | ({"GPU": gpus} if gpus else {})


def total_cpus(config: ResolvedConfig) -> int:
    """The logical CPUs that the whole deployment asks for."""
    targets = config.scaling.max_replicas * (REPLICA_CPUS + config.engine.ranks * RANK_CPUS)
    num_drafts = config.speculation.pool.max_replicas if uses_pool(config) else 0
    drafts = num_drafts * draft_resources(config)["CPU"]
    return math.ceil(targets + drafts + config.ingress_replicas * INGRESS_CPUS + HUB_CPUS)
