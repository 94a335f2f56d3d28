"""The draft pool as a Serve deployment: its resources, and how many replicas it has."""

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from cluster.draft import DraftReplica
from cluster.placement import draft_resources
from llama4coder.config import PoolConfig, ResolvedConfig

_POLICY = "cluster.draft_scaling:wanted_replicas"
_UPSCALE_DELAY_S = 10.0
_DOWNSCALE_DELAY_S = 120.0


def draft_deployment(config: ResolvedConfig, options: dict[str, Any]) -> serve.Deployment:
    """The pool's deployment; `options` are those that all deployments have in common."""
    pool = config.speculation.pool
    selector = {"label_selector": dict(pool.node_labels)} if pool.node_labels else {}
    resources = draft_resources(config)
    actor = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0.0), **selector}
    return serve.deployment(**options | number_of_replicas(pool) | {"ray_actor_options": actor})(DraftReplica)


def number_of_replicas(pool: PoolConfig) -> dict[str, Any]:
    """A fixed one, or what Serve needs to find it."""
    if pool.min_replicas == pool.max_replicas:
        return {"num_replicas": pool.max_replicas}
    scaling = AutoscalingConfig(
        min_replicas=pool.min_replicas,
        max_replicas=pool.max_replicas,
        upscale_delay_s=_UPSCALE_DELAY_S,
        downscale_delay_s=_DOWNSCALE_DELAY_S,
        policy=AutoscalingPolicy(policy_function=_POLICY),  # type: ignore[no-untyped-call]
    )
    return {"num_replicas": None, "autoscaling_config": scaling}
