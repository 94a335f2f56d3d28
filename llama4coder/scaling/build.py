"""The policies that a configuration asks for."""

from llama4coder.config import ResolvedConfig
from llama4coder.scaling.drafts import DraftPolicy
from llama4coder.scaling.targets import Objectives, TargetPolicy
from llama4coder.scaling.types import Bounds, Delays


def target_policy(config: ResolvedConfig) -> TargetPolicy:
    """Of the target replicas."""
    scaling = config.scaling
    objectives = Objectives(
        kv_share=scaling.kv_share,
        backlog_s=scaling.backlog_s,
        ttft_s=scaling.ttft_s,
        num_streams=scaling.streams_per_replica,
    )
    return TargetPolicy(objectives, Bounds(config.target_replicas, scaling.max_replicas), _delays(config))


def draft_policy(config: ResolvedConfig) -> DraftPolicy:
    """Of the draft pool."""
    pool = config.speculation.pool
    return DraftPolicy(Bounds(pool.min_replicas, pool.max_replicas), _delays(config))


def _delays(config: ResolvedConfig) -> Delays:
    return Delays(config.scaling.up_delay_s, config.scaling.down_delay_s)
