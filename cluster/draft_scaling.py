"""How many replicas the draft pool should have; Serve asks, and applies its delays and bounds to the answer.

Draft replicas get no Serve requests that would tell how busy they are, so they tell it themselves. A sequence has one
replica, so that more replicas than sequences are of no use; and of an empty pool nothing is known but that a target
calls for a replica.
"""

import math
from typing import Any

from ray.serve.config import AutoscalingContext

BUSY = "busy"  # share of the time that a replica drafts
SESSIONS = "sessions"  # that a replica has

_TARGET_BUSY = 0.7  # leaves room for rounds to be in time when sequences come in bursts


def wanted_replicas(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaling policy; keeps no state."""
    metrics = context.aggregated_metrics or {}
    num_sessions = sum(metrics.get(SESSIONS, {}).values())
    num_busy = math.ceil(sum(metrics.get(BUSY, {}).values()) / _TARGET_BUSY)
    is_called_for = num_sessions > 0 or context.total_queued_requests > 0
    return max(int(is_called_for), min(num_busy, math.ceil(num_sessions))), {}
