"""Serve's router does what the call says."""

from dataclasses import dataclass
from typing import Any

import pytest
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID, RequestMetadata
from ray.serve.request_router import PendingRequest

from cluster.request_router import ROUTE, DirectedRequestRouter

DEPLOYMENT = DeploymentID("TargetReplica", "llama4coder")


@dataclass(frozen=True)
class FakeReplica:
    """As much of a `RunningReplica` as a choice needs."""

    replica_id: ReplicaID


@pytest.fixture
async def router() -> DirectedRequestRouter:
    router = DirectedRequestRouter(deployment_id=DEPLOYMENT, handle_source=DeploymentHandleSource.REPLICA)
    router._replica_id_set = {replica.replica_id for replica in REPLICAS}
    return router


REPLICAS: list[Any] = [FakeReplica(ReplicaID(name, DEPLOYMENT)) for name in ("a", "b", "c")]


def pending(**kwargs: Any) -> PendingRequest:
    metadata = RequestMetadata(request_id="r", internal_request_id="i", call_method="generate")
    return PendingRequest(args=[], kwargs=kwargs, metadata=metadata)


async def test_the_named_replica_comes_first(router: DirectedRequestRouter) -> None:
    ranks = await router.choose_replicas(REPLICAS, pending(**{ROUTE: "b"}))
    assert ranks[0] == [REPLICAS[1]]
    assert len(ranks[1]) == 2, "if it does not answer"


@pytest.mark.parametrize("kwargs", [{}, {ROUTE: None}, {ROUTE: "gone"}])
async def test_otherwise_two_at_random(router: DirectedRequestRouter, kwargs: dict[str, Any]) -> None:
    request = pending(**kwargs)
    seen = set()
    for _ in range(50):
        named, pair = await router.choose_replicas(REPLICAS, request)
        assert not named
        assert len({id(replica) for replica in pair}) == 2
        seen |= {replica.replica_id.unique_id for replica in pair}
    assert seen == {"a", "b", "c"}
    assert request.routing_context.should_backoff, "when nobody answers, Serve waits before it asks again"


async def test_one_or_none(router: DirectedRequestRouter) -> None:
    router._replica_id_set = {REPLICAS[0].replica_id}
    assert await router.choose_replicas(REPLICAS[:1], pending()) == [[], REPLICAS[:1]]
    assert await router.choose_replicas([], None) == [[], []]
