"""The draft pool as a Serve deployment: its resources, and how many replicas it has."""

from typing import Any

from ray import serve

from cluster.autoscaling import number_of_replicas
from cluster.draft import DraftReplica
from cluster.placement import draft_resources
from llama4coder.resolved import ResolvedConfig
from llama4coder.scaling.build import draft_policy

_POLICY = "cluster.draft_scaling:DraftScaling"


def draft_deployment(config: ResolvedConfig, options: dict[str, Any]) -> serve.Deployment:
    """The pool's deployment; `options` are those that all deployments have in common."""
    pool = config.speculation.pool
    selector = {"label_selector": dict(pool.node_labels)} if pool.node_labels else {}
    resources = draft_resources(config)
    actor = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0.0), **selector}
    policy = draft_policy(config.scaling, pool)
    number = number_of_replicas(policy.bounds, _POLICY, policy)
    return serve.deployment(**options | number | {"ray_actor_options": actor})(DraftReplica)
