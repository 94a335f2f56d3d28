"""How many draft replicas there should be: the policy of `llama4coder.scaling.drafts`, as Serve asks it.

Draft replicas get no Serve requests that would tell how busy they are, so they tell it themselves; of an empty pool
nothing is known but that a target calls for a replica.
"""

from typing import Any

import msgspec
from ray.serve.config import AutoscalingContext

from cluster.autoscaling import STATE, loads_of
from cluster.scaling_board import post
from llama4coder.obs.replicas import Pool
from llama4coder.scaling.drafts import DraftLoad, DraftMoment, DraftPolicy, DraftState


class DraftScaling:
    """Serve makes one of it in its controller, and calls it several times a second; its state is in Serve's keeping."""

    def __init__(self, policy: Any) -> None:
        self._policy = msgspec.convert(policy, DraftPolicy)

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """How many, and the state that the next call is given."""
        moment = DraftMoment(
            now_s=context.current_time or 0.0,
            num_wanted=context.target_num_replicas,
            loads=loads_of(context, DraftLoad),
            is_called=context.total_queued_requests > 0,
        )
        decision = self._policy.decide(context.policy_state.get(STATE) or DraftState(), moment)
        if decision.num_replicas != moment.num_wanted:
            post(context.app_name or "", Pool.DRAFT, decision.state.pace.reason)
        return decision.num_replicas, {STATE: decision.state}
