"""The policies that a configuration asks for."""

from llama4coder.config import PoolConfig
from llama4coder.resolved import ResolvedScaling
from llama4coder.scaling.drafts import DraftPolicy
from llama4coder.scaling.targets import Objectives, TargetPolicy
from llama4coder.scaling.types import Bounds, Delays

_RESTS = 4  # times the delay after which it is given up


def target_policy(scaling: ResolvedScaling, least: int) -> TargetPolicy:
    """Of the target replicas."""
    objectives = Objectives(
        kv_share=scaling.kv_share,
        prefill_share=scaling.prefill_share,
        backlog_s=scaling.backlog_s,
        ttft_s=scaling.ttft_s,
        num_streams=scaling.streams_per_replica,
    )
    return TargetPolicy(objectives, Bounds(least, scaling.max_replicas), _delays(scaling), scaling.start_time_s)


def draft_policy(scaling: ResolvedScaling, pool: PoolConfig) -> DraftPolicy:
    """Of the draft pool."""
    return DraftPolicy(Bounds(pool.min_replicas, pool.max_replicas), _delays(scaling))


def pool_rest_s(scaling: ResolvedScaling) -> float:
    """For how long a target does not call for a pool that has gone because it was of no use."""
    return _RESTS * scaling.down_delay_s


def _delays(scaling: ResolvedScaling) -> Delays:
    return Delays(scaling.up_delay_s, scaling.down_delay_s)
