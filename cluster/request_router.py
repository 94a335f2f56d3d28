"""Serve's request router for target replicas: it does what the caller has decided.

The decision itself is made in the ingress (`cluster.routing`) and comes as an argument of the call, so that no state
has to be shared with the router that Serve makes for each handle.
"""

import random
from typing import Any

from ray.serve.request_router import LocalityMixin, PendingRequest, RequestRouter, RunningReplica

ROUTE = "replica"  # the call's keyword argument: a replica's unique id, or None


class DirectedRequestRouter(LocalityMixin, RequestRouter):
    """The replica that the call names, as long as it is there; otherwise the better of two at random."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """See `RequestRouter.choose_replicas`."""
        allowed = self.apply_locality_routing(pending_request)
        replicas = [replica for replica in candidate_replicas if replica.replica_id in allowed]
        wanted = _wanted(pending_request)
        named = [replica for replica in candidate_replicas if replica.replica_id.unique_id == wanted]
        return [named, random.sample(replicas, min(2, len(replicas)))]


def _wanted(pending_request: PendingRequest | None) -> Any:
    return pending_request.kwargs.get(ROUTE) if pending_request is not None else None
