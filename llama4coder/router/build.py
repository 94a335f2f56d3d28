"""From the configured name of a policy to the policy."""

from llama4coder.config import RoutingPolicy
from llama4coder.router.kv_aware import KVAware
from llama4coder.router.least_load import LeastLoad
from llama4coder.router.policy import Policy
from llama4coder.router.round_robin import RoundRobin


def build_policy(name: RoutingPolicy) -> Policy:
    """A policy that has chosen nothing yet."""
    match name:
        case "kv_aware":
            return KVAware()
        case "least_load":
            return LeastLoad()
        case "round_robin":
            return RoundRobin()
