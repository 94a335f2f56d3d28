"""What each process asks of the cluster's scheduler."""

import math

from llama4coder.config import ResolvedConfig

INGRESS_CPUS = 0.2
HUB_CPUS = 0.1
_REPLICA_CPUS = 0.2  # schedules and waits; the work is the rank's
_RANK_CPUS = 0.5  # below one, so that a laptop can hold a few; CPU ranks share the cores by their thread counts

REPLICA_BUNDLE, RANK_BUNDLE = 0, 1


def target_bundles(config: ResolvedConfig) -> list[dict[str, float]]:
    """The placement group of one target replica: its own process, then its rank."""
    rank = {"CPU": _RANK_CPUS}
    if config.engine.device == "cuda":
        rank["GPU"] = 1
    return [{"CPU": _REPLICA_CPUS}, rank]


def total_cpus(config: ResolvedConfig) -> int:
    """The logical CPUs that the whole deployment asks for."""
    targets = config.target_replicas * (_REPLICA_CPUS + _RANK_CPUS)
    return math.ceil(targets + config.ingress_replicas * INGRESS_CPUS + HUB_CPUS)
